"""What the images have in common: their features in the canonical square, and where in it the object lies."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import avg_pool2d, interpolate

from workers.backbones.base import Tick
from workers.geometry.coordinates import resize_grid, sample, sample_at
from workers.methods.asic.aligned import Aligned
from workers.methods.asic.canonical_maps import CanonicalMaps, seen_through
from workers.methods.asic.inputs import DescribedSet
from workers.methods.atlas.agreement import AGREEMENT_CELLS, Congealed, congealed

DENSITY_CELLS = 64
_LEAST_SHARE = 0.5
_BLURS, _BLUR_CELLS = 3, 5
_HIGH_SHARE = 0.97
_NONE_BELOW, _FULL_ABOVE = 0.05, 0.25


@dataclass(frozen=True)
class Common:
    """The set seen in the canonical square.

    Attributes:
        congealed: features of the images there.
        saliency: (A, A) in [0, 1], where the object lies.
        foreground: (N, 1, c, c) in [0, 1], where it lies in the frames, on the cells of the features.
    """

    congealed: Congealed
    saliency: Tensor
    foreground: Tensor


def common(
    described: DescribedSet,
    maps: CanonicalMaps,
    tick: Tick,
    *,
    aligned: Aligned | None = None,
    saliency: Tensor | None = None,
) -> Common:
    """See a set in the canonical square.

    The object lies as `saliency` (A, A) says; else where the masks are in the mean; without masks, where many
    matches of `aligned` agree. In the frames it lies where the masks are; without, where the saliency is.
    """
    size = int(maps.grids.shape[1])
    if saliency is None:
        saliency = (
            _mean_mask(described, maps) if aligned is None or described.masks is not None else _dense(aligned, size)
        )
    small = interpolate(saliency[None, None], (AGREEMENT_CELLS, AGREEMENT_CELLS), mode="bilinear", antialias=True)
    mean = described.features.mean(dim=(0, 2, 3))
    seen = congealed(_views(described, maps), mean, maps.grids, described.valid, small[0, 0], tick)
    foreground = described.masks if described.masks is not None else foreground_of(described, maps, saliency)
    return Common(seen, saliency, foreground)


def foreground_of(described: DescribedSet, maps: CanonicalMaps, saliency: Tensor) -> Tensor:
    """Saliency (A, A) of the canonical square seen in the frames: (N, 1, c, c), 0 on padding."""
    places = resize_grid(maps.places, int(described.features.shape[-1]))
    shown = saliency.expand(len(places), 1, -1, -1)
    return sample(shown, places, padding="zeros") * described.valid


def _mean_mask(described: DescribedSet, maps: CanonicalMaps) -> Tensor:
    """Mean (A, A) over the images that are seen there of their masks, or of where they show anything."""
    covered = seen_through(described.valid, maps.grids).sum(dim=0)[0]
    inside = seen_through(described.area, maps.grids).sum(dim=0)[0]
    return torch.where(covered > _LEAST_SHARE, inside / covered.clamp(min=_LEAST_SHARE), 0.0)


def _dense(aligned: Aligned, size: int) -> Tensor:
    """Saliency (size, size): how densely the matches that agree lie in the canonical square, cut off at both ends."""
    matches, maps = aligned.matches, aligned.places.permute(0, 3, 1, 2)
    ends = [
        sample_at(maps[of], points.to(maps)).transpose(1, 2)
        for of, points in ((matches.first, matches.first_points), (matches.second, matches.second_points))
    ]
    middle = torch.stack(ends).mean(dim=0)
    column, row = ((middle + 1) * DENSITY_CELLS / 2).floor().clamp(0, DENSITY_CELLS - 1).long().unbind(dim=2)
    counts = torch.zeros(DENSITY_CELLS**2, dtype=torch.float64, device=maps.device)
    counts.index_add_(0, (row * DENSITY_CELLS + column).flatten(), aligned.trust.double().flatten())
    density = counts.view(1, 1, DENSITY_CELLS, DENSITY_CELLS).float()
    for _ in range(_BLURS):
        density = avg_pool2d(density, _BLUR_CELLS, 1, _BLUR_CELLS // 2)
    level = torch.quantile(density, _HIGH_SHARE).clamp(min=1e-6)
    cut = ((density / level - _NONE_BELOW) / (_FULL_ABOVE - _NONE_BELOW)).clamp(0, 1)
    return interpolate(cut, (size, size), mode="bilinear")[0, 0]


def _views(described: DescribedSet, maps: CanonicalMaps) -> Iterator[tuple[Tensor, Tensor]]:
    """Of each image the features (1, C, c, c) in which it is the right way round, and the grid (1, A, A, 2) to them."""
    flip = maps.grids.new_tensor([-1.0, 1.0])
    for index, mirrored in enumerate(maps.mirrored.tolist()):
        one = slice(index, index + 1)
        if mirrored and described.mirrored_features is not None:
            yield described.mirrored_features[one], maps.grids[one] * flip
        else:
            yield described.features[one], maps.grids[one]
