"""All loss terms of one training step of ASIC (arXiv 2303.16201), in the official order of work."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields

import torch
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits, interpolate

from workers.methods.asic.network.canonical import flow_at, identity, unit, unwarp
from workers.methods.asic.network.losses import contrastive, equivariance, parts, total_variation
from workers.methods.asic.network.perceptual import Vgg16, perceptual_distance
from workers.methods.asic.network.spline_warps import Convention, SplineWarp

Augment = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class Batch:
    """P pairs of pictures: the first P of the B = 2 P are the sources, the last P their targets.

    Attributes:
        pictures: (B, 3, S, S) in [-1, 1].
        masks: (B, S, S), 1 on the object, else 0.
        labels: (B, S, S), parts 0 .. n - 1, and n for the background.
        source_px: (P, K, 2), matched pixels.
        target_px: (P, K, 2), their partners.
        visible: (P, K) bool, False for padding.
    """

    pictures: Tensor
    masks: Tensor
    labels: Tensor
    source_px: Tensor
    target_px: Tensor
    visible: Tensor


@dataclass(frozen=True)
class Weights:
    """Of the terms; official defaults for pictures of 256 pixels."""

    contrastive: float = 30.0
    equivariance: float = 1.0
    total_variation: float = 15_000.0
    reconstruction: float = 1.0
    parts: float = 10.0
    mask: float = 0.1


@dataclass(frozen=True)
class Terms:
    """Unweighted values of the terms."""

    contrastive: Tensor
    equivariance: Tensor
    total_variation: Tensor
    reconstruction: Tensor
    parts: Tensor
    mask: Tensor

    def total(self, weights: Weights) -> Tensor:
        """Their weighted sum."""
        terms = [getattr(weights, field.name) * getattr(self, field.name) for field in fields(self)]
        return torch.stack(terms).sum()


def as_they_are(pictures: Tensor) -> Tensor:
    """No augmentation."""
    return pictures


def terms(
    network: nn.Module,
    grid: Tensor,
    vgg: Vgg16,
    batch: Batch,
    warp: SplineWarp,
    *,
    parts_count: int,
    unwarp_size: int,
    augment: Augment = as_they_are,
    convention: Convention = "consistent",
) -> Terms:
    """Compute all terms.

    Args:
        network: offsets (B, S, S, 2) of pictures.
        grid: the canonical grid (1, 4, g, g): colours, and how much the object is there, as a logit.
        vgg: for the perceptual distance.
        batch: pictures and matches.
        warp: of B pictures.
        parts_count: parts, the background included.
        unwarp_size: pixels a side at which pictures are compared with the grid.
        augment: changes the colours of pictures before they are warped.
        convention: of the warp.
    """
    size = batch.pictures.shape[-1]
    offsets = network(batch.pictures)
    flow = identity(size, device=offsets.device) + offsets
    warped = _warped(batch, flow, warp, augment, convention)
    flow_of_warped = identity(size, device=offsets.device) + network(warped.pictures)
    seen, seen_warped = unwarp(grid, flow, unwarp_size), unwarp(grid, flow_of_warped, unwarp_size)
    small, small_warped = _small(batch.pictures, unwarp_size), _small(warped.pictures, unwarp_size)
    mask, mask_warped = (_small(masks.unsqueeze(1), unwarp_size) for masks in (batch.masks, warped.masks))
    pairs = len(batch.source_px)
    return Terms(
        contrastive=contrastive(
            flow_at(flow[:pairs], unit(batch.source_px, size)),
            flow_at(flow[pairs:], unit(batch.target_px, size)),
            batch.visible,
        ),
        equivariance=equivariance(flow_of_warped, warped.flow, batch.masks, warped.masks),
        total_variation=total_variation(offsets),
        reconstruction=_halves(
            perceptual_distance(vgg, seen[:, :3] * mask, small * mask),
            perceptual_distance(vgg, seen_warped[:, :3] * mask_warped, small_warped * mask_warped),
        ),
        parts=parts(flow, batch.labels, batch.masks, parts_count),
        mask=_halves(
            binary_cross_entropy_with_logits(seen[:, 3:], mask),
            binary_cross_entropy_with_logits(seen_warped[:, 3:], mask_warped),
        ),
    )


@dataclass(frozen=True)
class _Warped:
    pictures: Tensor
    masks: Tensor
    flow: Tensor


@torch.no_grad()
def _warped(batch: Batch, flow: Tensor, warp: SplineWarp, augment: Augment, convention: Convention) -> _Warped:
    masks = warp(batch.masks.unsqueeze(1), convention=convention).squeeze(1) > 0.5
    moved = warp(flow.detach().permute(0, 3, 1, 2), convention=convention).permute(0, 2, 3, 1)
    return _Warped(warp(augment(batch.pictures), convention=convention), masks.to(flow), moved)


def _small(maps: Tensor, size: int) -> Tensor:
    return interpolate(maps, (size, size), mode="bilinear", align_corners=True)


def _halves(first: Tensor, second: Tensor) -> Tensor:
    return (first + second) / 2
