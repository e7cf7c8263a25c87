"""What the images have in common: their features in the canonical square, and where in it the object lies."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import torch
from torch import Tensor
from torch.nn.functional import interpolate

from workers.backbones.base import Tick
from workers.geometry.coordinates import resize_grid, sample
from workers.methods.asic.canonical_maps import CanonicalMaps, seen_through
from workers.methods.asic.inputs import DescribedSet
from workers.methods.atlas.agreement import AGREEMENT_CELLS, Congealed, congealed
from workers.saliency.consensus import consensus_saliency

_LEAST_SHARE = 0.5


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


def common(described: DescribedSet, maps: CanonicalMaps, tick: Tick, *, saliency: Tensor | None = None) -> Common:
    """See a set in the canonical square.

    The object lies where the masks are in the mean; without masks, where the images agree; or as `saliency` (A, A)
    says. In the frames it lies where the masks are; without, where the saliency is.
    """
    size = int(maps.grids.shape[1])
    blank = torch.ones(size, size, device=maps.grids.device)
    seen = congealed(
        _views(described, maps), described.features.mean(dim=(0, 2, 3)), maps.grids, described.valid, blank, tick
    )
    if saliency is None:
        saliency = _saliency(described, maps, seen, size)
    small = interpolate(saliency[None, None], (AGREEMENT_CELLS, AGREEMENT_CELLS), mode="bilinear", antialias=True)
    foreground = described.masks if described.masks is not None else foreground_of(described, maps, saliency)
    return Common(replace(seen, saliency=small.flatten()), saliency, foreground)


def foreground_of(described: DescribedSet, maps: CanonicalMaps, saliency: Tensor) -> Tensor:
    """Saliency (A, A) of the canonical square seen in the frames: (N, 1, c, c), 0 on padding."""
    places = resize_grid(maps.places, int(described.features.shape[-1]))
    shown = saliency.expand(len(places), 1, -1, -1)
    return sample(shown, places, padding="zeros") * described.valid


def _saliency(described: DescribedSet, maps: CanonicalMaps, seen: Congealed, size: int) -> Tensor:
    if described.masks is None:
        found = consensus_saliency(seen.features.float(), seen.seen, AGREEMENT_CELLS)
        cells = found.view(1, 1, AGREEMENT_CELLS, AGREEMENT_CELLS)
        return interpolate(cells, (size, size), mode="bilinear")[0, 0]
    covered = seen_through(described.valid, maps.grids).sum(dim=0)[0]
    inside = seen_through(described.area, maps.grids).sum(dim=0)[0]
    return torch.where(covered > _LEAST_SHARE, inside / covered.clamp(min=_LEAST_SHARE), 0.0)


def _views(described: DescribedSet, maps: CanonicalMaps) -> Iterator[tuple[Tensor, Tensor]]:
    """Of each image the features (1, C, c, c) in which it is the right way round, and the grid (1, A, A, 2) to them."""
    flip = maps.grids.new_tensor([-1.0, 1.0])
    for index, mirrored in enumerate(maps.mirrored.tolist()):
        one = slice(index, index + 1)
        if mirrored and described.mirrored_features is not None:
            yield described.mirrored_features[one], maps.grids[one] * flip
        else:
            yield described.features[one], maps.grids[one]
