"""All loss terms of one training step of ASIC (arXiv 2303.16201), in the official order of work."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields

import torch
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits, interpolate

from workers.methods.asic.network.canonical import flow_at, identity, unit, unwarp
from workers.methods.asic.network.losses import (
    contrastive,
    equivariance,
    folding,
    near,
    parts,
    total_variation,
    visible_contrastive,
    visible_equivariance,
)
from workers.methods.asic.network.spline_warps import Convention, SplineWarp

Augment = Callable[[Tensor], Tensor]
Distance = Callable[[Tensor, Tensor], Tensor]
"""Between two lots of pictures (N, 3, S, S) in [-1, 1]."""

_NEAR = 8 / 256
"""As a share of the picture's side."""


@dataclass(frozen=True)
class Batch:
    """P pairs of pictures: the first P of the B = 2 P are the sources, the last P their targets.

    Attributes:
        pictures: (B, 3, S, S) in [-1, 1].
        masks: (B, S, S), 1 on the object, else 0.
        labels: (B, S, S), parts 0 .. n - 1, and n for the background.
        source_px: (P, K, 2), matched pixels.
        target_px: (P, K, 2), their partners.
        visible: (P, K), how much a match counts; 0 for padding.
        start: (B, S, S, 2), places that offsets are added to; the pixels' own if None.
    """

    pictures: Tensor
    masks: Tensor
    labels: Tensor
    source_px: Tensor
    target_px: Tensor
    visible: Tensor
    start: Tensor | None = None


@dataclass(frozen=True)
class Weights:
    """Of the terms; official defaults for pictures of 256 pixels."""

    contrastive: float = 30.0
    equivariance: float = 1.0
    total_variation: float = 15_000.0
    reconstruction: float = 1.0
    parts: float = 10.0
    mask: float = 0.1
    folding: float = 0.0


@dataclass(frozen=True)
class Terms:
    """Unweighted values of the terms."""

    contrastive: Tensor
    equivariance: Tensor
    total_variation: Tensor
    reconstruction: Tensor
    parts: Tensor
    mask: Tensor
    folding: Tensor

    def total(self, weights: Weights) -> Tensor:
        """Their weighted sum."""
        terms = [getattr(weights, field.name) * getattr(self, field.name) for field in fields(self)]
        return torch.stack(terms).sum()


def as_they_are(pictures: Tensor) -> Tensor:
    """No augmentation."""
    return pictures


def terms(
    network: Callable[[Tensor], Tensor],
    grid: Tensor,
    distance: Distance,
    batch: Batch,
    warp: SplineWarp,
    *,
    parts_count: int,
    unwarp_size: int,
    compat: bool = True,
    temperature: float = 1.0,
    augment: Augment = as_they_are,
    convention: Convention = "consistent",
) -> Terms:
    """Compute all terms.

    Args:
        network: offsets (B, S, S, 2) of pictures.
        grid: the canonical grid (1, 4, g, g): colours, and how much the object is there, as a logit.
        distance: of pictures from what the grid shows.
        batch: pictures and matches.
        warp: of B pictures.
        parts_count: parts, the background included.
        unwarp_size: pixels a side at which pictures are compared with the grid.
        compat: the official forms. Else only visible matches and pixels count, augmented pictures are not what the
            grid should show, and folds are penalised.
        temperature: of the distances between matched places.
        augment: changes the colours of pictures before they are warped.
        convention: of the warp.
    """
    offsets = network(batch.pictures)
    own = identity(batch.pictures.shape[-1], device=offsets.device)
    flow = _readable(offsets) + (own if batch.start is None else batch.start)
    warped = _warped(batch, flow, warp, augment, convention, compat=compat)
    flow_of_warped = _readable(network(warped.pictures)) + (own if warped.start is None else warped.start)
    seen, seen_warped = unwarp(grid, flow, unwarp_size), unwarp(grid, flow_of_warped, unwarp_size)
    small, small_warped, mask, mask_warped = (
        interpolate(maps, (unwarp_size, unwarp_size), mode="bilinear", align_corners=compat)
        for maps in (batch.pictures, warped.shown, batch.masks.unsqueeze(1), warped.masks.unsqueeze(1))
    )
    return Terms(
        contrastive=_contrastive(flow, batch, temperature, compat=compat),
        equivariance=equivariance(flow_of_warped, warped.flow, batch.masks, warped.masks)
        if compat
        else visible_equivariance(flow_of_warped, warped.flow, warped.masks),
        total_variation=total_variation(offsets),
        reconstruction=_halves(
            distance(seen[:, :3] * mask, small * mask),
            distance(seen_warped[:, :3] * mask_warped, small_warped * mask_warped),
        ),
        parts=parts(flow, batch.labels, batch.masks, parts_count),
        mask=_halves(
            binary_cross_entropy_with_logits(seen[:, 3:], mask),
            binary_cross_entropy_with_logits(seen_warped[:, 3:], mask_warped),
        ),
        folding=flow.new_zeros(()) if compat else folding(flow, batch.masks),
    )


def _readable(offsets: Tensor) -> Tensor:
    """Offsets without nan, on which reading a picture may crash; the total variation still shows them."""
    return offsets.nan_to_num()


def _contrastive(flow: Tensor, batch: Batch, temperature: float, *, compat: bool) -> Tensor:
    pairs, size = len(batch.source_px), flow.shape[1]
    source = flow_at(flow[:pairs], unit(batch.source_px, size))
    target = flow_at(flow[pairs:], unit(batch.target_px, size))
    if compat:
        return contrastive(source, target, batch.visible, temperature=temperature)
    return visible_contrastive(
        source,
        target,
        batch.visible,
        source_near=near(batch.source_px, _NEAR * size),
        target_near=near(batch.target_px, _NEAR * size),
        temperature=temperature,
    )


@dataclass(frozen=True)
class _Warped:
    """Of a batch: what the network sees, what the grid should show, and masks, flows and starts."""

    pictures: Tensor
    shown: Tensor
    masks: Tensor
    flow: Tensor
    start: Tensor | None


@torch.no_grad()
def _warped(
    batch: Batch, flow: Tensor, warp: SplineWarp, augment: Augment, convention: Convention, *, compat: bool
) -> _Warped:
    start = flow[..., :0] if batch.start is None else batch.start
    shown = batch.pictures[:, :0] if compat else batch.pictures
    moving = [augment(batch.pictures), shown, batch.masks.unsqueeze(1), *(f.permute(0, 3, 1, 2) for f in (flow, start))]
    moved = warp(torch.cat(moving, dim=1), convention=convention)
    pictures, shown, masks, flow, start = torch.split(moved, [maps.shape[1] for maps in moving], dim=1)
    return _Warped(
        pictures,
        pictures if compat else shown,
        (masks.squeeze(1) > 0.5).to(flow),
        flow.permute(0, 2, 3, 1),
        None if batch.start is None else start.permute(0, 2, 3, 1),
    )


def _halves(first: Tensor, second: Tensor) -> Tensor:
    return (first + second) / 2
