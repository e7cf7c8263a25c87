"""Matches between the images of a set: mutual nearest neighbours on the objects, the surest of each pair."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import adaptive_avg_pool2d, normalize

from workers.backbones.base import Tick, no_tick
from workers.geometry.coordinates import identity_grid
from workers.geometry.joint_splines import PairedPoints
from workers.matching.nearest import nearest_both_ways
from workers.matching.pseudo_correspondences import pseudo_correspondences

_MOSTLY = 0.5
_ANYTHING = 1 / 255
_GUIDANCE = 0.3 / 0.6**2

Pair = tuple[int, int]


@dataclass(frozen=True)
class Cells:
    """What of N images can be matched.

    Attributes:
        features: per image (P, C) of its cells.
        places: per image (P, 2), their centres in the frame, [-1, 1].
        on_object: per image (P,) bool, for the official filter; None where only cells on the objects are listed.
    """

    features: tuple[Tensor, ...]
    places: tuple[Tensor, ...]
    on_object: tuple[Tensor, ...] | None = None


def cells_of(features: Tensor, area: Tensor, side: int) -> Cells:
    """Cells, `side` a side of the frame, of features (N, C, c, c) that lie mostly within an area (N, 1, c, c)."""
    side = min(side, int(features.shape[-1]))
    pooled = adaptive_avg_pool2d(features, side).flatten(2).transpose(1, 2)
    inside = adaptive_avg_pool2d(area, side).flatten(1) > _MOSTLY
    centres = identity_grid(side, side, device=features.device).flatten(0, 1)
    return Cells(
        tuple(rows[chosen] for rows, chosen in zip(pooled, inside, strict=True)),
        tuple(centres[chosen] for chosen in inside),
    )


def all_cells(features: Tensor, area: Tensor, side: int) -> Cells:
    """All cells, with a note of which lie on the objects: official matching looks for partners everywhere."""
    whole = cells_of(features, torch.ones_like(area), side)
    side = min(side, int(features.shape[-1]))
    return replace(whole, on_object=tuple(adaptive_avg_pool2d(area, side).flatten(1) > _ANYTHING))


def chosen_cells(upright: Cells, turned: Cells, mirrored: Tensor) -> Cells:
    """Of each image the cells as it is, or of its mirror image where `mirrored` (N,)."""
    sides = [turned if flag else upright for flag in mirrored.tolist()]
    features, places = ([getattr(side, name)[i] for i, side in enumerate(sides)] for name in ("features", "places"))
    return Cells(tuple(features), tuple(places))


def chosen_pairs(count: int, partners: int, seed: int) -> list[Pair]:
    """Pairs (i, j), i < j, of `count` images, in which each has at least so many partners, or all others.

    The images are put round a circle at random, and each is paired with those nearest on both sides: every image is
    tied to every other by a short way.
    """
    circle = np.random.default_rng(seed).permutation(count)
    steps = range(1, min((partners + 1) // 2, count // 2) + 1)
    pairs = {
        tuple(sorted((int(circle[at]), int(circle[(at + step) % count])))) for at in range(count) for step in steps
    }
    return sorted((first, second) for first, second in pairs)


def matched(
    first: Cells,
    second: Cells,
    pairs: Sequence[Pair],
    *,
    most: int | None,
    plane: Sequence[Tensor] | None = None,
    tick: Tick = no_tick,
) -> PairedPoints:
    """Match the first images of pairs, as `first` shows them, with their second images, as `second` does.

    Args:
        first: of all images.
        second: of all images.
        pairs: which to match.
        most: the most similar so many are kept of each pair; None keeps all.
        plane: per image (P, 2), where its cells lie in a common plane by what is known already. The cosine of two
            cells then counts the less, the farther apart they lie: by 0.3 at a distance of 0.6.
        tick: called for every pair.

    Returns:
        Matches of weight 1, padded with weight 0 to the length of the longest list.
    """
    lists = []
    for i, j in pairs:
        lists.append(_pair(first, second, i, j, most) if plane is None else _guided(first, i, j, most, plane))
        tick()
    longest = max((len(rows) for rows in lists), default=0)
    device = first.places[0].device
    points = torch.zeros(len(pairs), longest, 4, device=device)
    weights = torch.zeros(len(pairs), longest, device=device)
    for row, rows in enumerate(lists):
        points[row, : len(rows)], weights[row, : len(rows)] = rows, 1
    ends = torch.tensor(pairs, dtype=torch.int64, device=device).view(-1, 2)
    return PairedPoints(ends[:, 0], ends[:, 1], points[..., :2], points[..., 2:], weights)


def _pair(first: Cells, second: Cells, i: int, j: int, most: int | None) -> Tensor:
    """Matched places (K, 4) of a pair."""
    here, there = first.features[i], second.features[j]
    if not len(here) or not len(there):
        return first.places[i].new_zeros(0, 4)
    if first.on_object is not None and second.on_object is not None:
        found = pseudo_correspondences(
            here, there, first_mask=first.on_object[i], second_mask=second.on_object[j], compat=True
        )
    else:
        found = pseudo_correspondences(here, there)
    kept = found.similarity.argsort(descending=True, stable=True)[:most]
    return torch.cat([first.places[i][found.first[kept]], second.places[j][found.second[kept]]], dim=1)


def _guided(cells: Cells, i: int, j: int, most: int | None, plane: Sequence[Tensor]) -> Tensor:
    """As `_pair`, of one set of cells, with the squared distance in the plane, times `_GUIDANCE`, off the cosine."""
    here, there = cells.features[i], cells.features[j]
    if not len(here) or not len(there):
        return cells.places[i].new_zeros(0, 4)
    (ours, own), (theirs, other) = (_with_places(vectors, plane[of]) for vectors, of in ((here, i), (there, j)))
    # cos - w |p - q|^2 = cos + 2 w p.q - w p.p - w q.q is one product of longer vectors.
    forth, back = nearest_both_ways(
        torch.cat([ours, own, torch.ones_like(own)], dim=1), torch.cat([theirs, torch.ones_like(other), other], dim=1)
    )
    mutual = (back.index[forth.index] == torch.arange(len(ours), device=ours.device)).nonzero().squeeze(1)
    kept = mutual[forth.similarity[mutual].argsort(descending=True, stable=True)[:most]]
    return torch.cat([cells.places[i][kept], cells.places[j][forth.index[kept]]], dim=1)


def _with_places(features: Tensor, places: Tensor) -> tuple[Tensor, Tensor]:
    """Unit features with their places (P, C + 2), and the places' share (P, 1) of the squared distance."""
    places = places.to(features)
    joined = torch.cat([normalize(features, dim=1), (2 * _GUIDANCE) ** 0.5 * places], dim=1)
    return joined, -_GUIDANCE * places.square().sum(dim=1, keepdim=True)
