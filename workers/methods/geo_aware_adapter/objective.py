"""The loss of a few annotated pictures, paired with each other and with their mirrored selves.

After Telling Left from Right (arXiv 2311.17034). The official code runs the network four times for each pair; here it
has seen each picture and each mirrored picture once, and all pairs share what it saw. Each pair counts in one
direction: which, the caller says.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from workers.backbones.base import Tick, no_tick
from workers.methods.geo_aware_adapter.losses import (
    TEMPERATURE,
    dense_loss,
    descriptors_at,
    found_places,
    sparse_loss,
    wanted_places,
)

TERMS = 4
"""Kinds of pairs: as they are, both mirrored, mirrored source and source, mirrored source and target."""


@dataclass(frozen=True)
class Weights:
    """Of the pairs with mirrored pictures, against 1 of the pairs as they are; released defaults."""

    double_flip: float = 1.0
    self_flip: float = 0.25
    single_flip: float = 0.0


@dataclass(frozen=True)
class Keypoints:
    """Of m pictures of one category, or of m pictures and then their m mirrored selves.

    Attributes:
        points: (V, K, 2) in cells, continuous.
        visible: (V, K) bool.
        sides: (V,), the longer side of the object's box in cells.
        mirrored: whether the second half is the first one mirrored.
    """

    points: Tensor
    visible: Tensor
    sides: Tensor
    mirrored: bool = False

    def with_mirrored(self, becomes: Tensor, cells: int) -> Keypoints:
        """The same, followed by the mirrored pictures' keypoints, each where what it becomes in the mirror was seen.

        Args:
            becomes: (m, K) int64, what each keypoint becomes; leads back if done twice.
            cells: a side of the grid.
        """
        points = self.points.gather(1, becomes.unsqueeze(2).expand_as(self.points))
        points = torch.stack([cells - points[..., 0], points[..., 1]], dim=2)
        visible = self.visible.gather(1, becomes)
        return Keypoints(
            points=torch.cat([self.points, points]),
            visible=torch.cat([self.visible, visible]),
            sides=torch.cat([self.sides, self.sides]),
            mirrored=True,
        )


@dataclass(frozen=True)
class Pairing:
    """P pairs of the m pictures.

    Attributes:
        sources: (P,) int64, from which keypoints are carried.
        targets: (P,) int64, to which.
        noise: (P, 4, K, 2) of deviation 1; scaled, it is added to the places to be found, of each kind of pair.
        noise_scale: by which it is multiplied, in halves of the target object's longer side.
    """

    sources: Tensor
    targets: Tensor
    noise: Tensor
    noise_scale: float


@dataclass(frozen=True)
class Losses:
    """Means over the pairs.

    Attributes:
        total: what is to be made small.
        sparse: the cross-entropy of the pairs as they are.
        dense: their mean error in cells, the noise included.
    """

    total: Tensor
    sparse: Tensor
    dense: Tensor


def pair_losses(
    maps: Tensor,
    keypoints: Keypoints,
    pairing: Pairing,
    weights: Weights,
    logit_scale: Tensor,
    *,
    subcell: bool,
    temperature: float = TEMPERATURE,
    tick: Tick = no_tick,
) -> Losses:
    """The loss of pairs: of each the weighted mean over its kinds, of these the mean.

    Kinds without a keypoint visible on both sides do not count, nor do pairs without any kind. The sparse loss is that
    of the pairs as they are only.

    Args:
        maps: (V, C, g, g), a unit vector each cell, of the V pictures that `keypoints` tells of.
        keypoints: of m pictures, or of these and the mirrored ones.
        pairing: indices below m.
        weights: of the kinds; without mirrored pictures only the first kind counts.
        logit_scale: see `sparse_loss`.
        subcell: which convention says where keypoints lie, see `losses`.
        temperature: of the softmax over the target.
        tick: called during the work.
    """
    kinds, sources, targets, shares = _kinds(pairing, weights, len(maps) // 2 if keypoints.mirrored else None)
    count = len(pairing.sources)
    visible = keypoints.visible[sources] & keypoints.visible[targets]
    read = descriptors_at(maps, keypoints.points, subcell=subcell)
    wanted = wanted_places(keypoints.points[sources], keypoints.points[targets], subcell=subcell)
    reach = pairing.noise_scale / 2 * keypoints.sides[targets]
    wanted = wanted + reach[:, None, None] * pairing.noise[:, kinds].transpose(0, 1).flatten(0, 1)
    found = found_places(read[sources], visible, targets, maps, temperature=temperature, tick=tick)
    dense = dense_loss(found, wanted, visible).view(len(kinds), count)
    sparse = sparse_loss(read[pairing.sources], read[pairing.targets], visible[:count], logit_scale)
    shares = shares.unsqueeze(1) * visible.any(dim=1).view(len(kinds), count)
    whole = shares.sum(dim=0)
    each = ((shares * dense).sum(dim=0) + shares[0] * sparse) / whole.clamp(min=1e-12)
    return Losses(_mean(each, whole > 0), _mean(sparse, shares[0] > 0), _mean(dense[0], shares[0] > 0))


def _kinds(pairing: Pairing, weights: Weights, first_mirrored: int | None) -> tuple[list[int], Tensor, Tensor, Tensor]:
    """The kinds of pairs that count, sources and targets (T * P,) of all, kind by kind, and weights (T,)."""
    source, target = pairing.sources, pairing.targets
    table = [(1.0, source, target)]
    if first_mirrored is not None:
        table += [
            (weights.double_flip, source + first_mirrored, target + first_mirrored),
            (weights.self_flip, source + first_mirrored, source),
            (weights.single_flip, source + first_mirrored, target),
        ]
    kinds = [kind for kind, (weight, _, _) in enumerate(table) if weight > 0]
    return (
        kinds,
        torch.cat([table[kind][1] for kind in kinds]),
        torch.cat([table[kind][2] for kind in kinds]),
        pairing.noise.new_tensor([table[kind][0] for kind in kinds]),
    )


def _mean(values: Tensor, counted: Tensor) -> Tensor:
    return (values * counted).sum() / counted.sum().clamp(min=1)
