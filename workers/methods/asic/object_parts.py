"""Parts of the objects of a set, and where they lie in the canonical square."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import interpolate, one_hot

from workers.backbones.base import Tick
from workers.methods.asic.canonical_maps import CanonicalMaps, seen_through
from workers.methods.asic.inputs import DescribedSet
from workers.methods.features import Heartbeat, describe
from workers.saliency.augmentation import augmented_views
from workers.saliency.dense_crf import CrfOptions
from workers.saliency.parts import BACKGROUND, PartOptions, co_segmented_parts, part_labels

_SAMPLES_AN_IMAGE = 150
_OFFICIAL_EVERY = 100
_OFFICIAL_PX = 256
LABEL_PX = 128
_ON_OBJECT = 0.3


@dataclass(frozen=True)
class ObjectParts:
    """Parts of N images.

    Attributes:
        labels: (N, S, S) of the frames' pixels: parts from 0, and -1 on the background.
        centroids: (K, C) features of the parts.
        background: (B, C) of what is no part.
    """

    labels: Tensor
    centroids: Tensor
    background: Tensor

    @property
    def count(self) -> int:
        """Parts K that were found."""
        return len(self.centroids)


def found_parts(
    described: DescribedSet, foreground: Tensor, count: int, pulse: Heartbeat, *, seed: int, parity: bool = False
) -> ObjectParts:
    """Divide the foreground (N, 1, c, c) of a set into at most `count` parts.

    Mirrored pictures join the clustering, so that left and right parts are alike: those described already, or, with
    `parity`, crops of both as the official code cuts them.
    """
    views: Tensor | list[Tensor] = []
    if parity:
        cut = augmented_views(described.frames.pictures, seed=seed)
        cells = int(described.features.shape[-1])
        views = [describe(described.backbone, view[None], cells=cells, tick=pulse.beat)[0] for view in cut]
    elif described.mirrored_features is not None:
        views = described.mirrored_features
    every = _OFFICIAL_EVERY if parity else max(1, described.features[0, 0].numel() // _SAMPLES_AN_IMAGE)
    pictures = described.frames.pictures if parity else _labelled_pictures(described)
    options = PartOptions(parts=count, every=every, crf=_crf(int(pictures.shape[-1])))
    parts = co_segmented_parts(described.features, views, foreground, pictures, options, seed=seed, tick=pulse.beat)
    if parts.count < count:
        pulse.log(f"{_how_many(parts.count)} could be told apart, not {count}.")
    labels = _of_frames(parts.labels, described, None if parity else foreground)
    return ObjectParts(labels, parts.centroids, parts.background)


def parts_by_centroids(
    described: DescribedSet, foreground: Tensor, centroids: Tensor, background: Tensor, tick: Tick
) -> ObjectParts:
    """The parts, by features found before, of further images."""
    pictures = _labelled_pictures(described)
    labels = part_labels(described.features, pictures, centroids, background, _crf(int(pictures.shape[-1])), tick=tick)
    return ObjectParts(_of_frames(labels, described, foreground), centroids, background)


def part_shares(parts: ObjectParts, maps: CanonicalMaps) -> Tensor:
    """Share (K, A, A) of the images that show each part at each cell of the canonical square, of those that show it."""
    if parts.count == 0:
        return maps.grids.new_zeros(0, *maps.grids.shape[1:3])
    total = maps.grids.new_zeros(parts.count, *maps.grids.shape[1:3])
    for labels, grid in zip(parts.labels, maps.grids, strict=True):
        layers = one_hot(labels + 1, parts.count + 1)[..., 1:].permute(2, 0, 1).to(total)
        total += seen_through(layers.unsqueeze(0), grid.unsqueeze(0))[0]
    return total / maps.known.sum(dim=0).clamp(min=1)


def _labelled_pictures(described: DescribedSet) -> Tensor:
    """The frames at the size at which parts are fitted to edges: a sixteenth of the work of the official size."""
    size = (LABEL_PX, LABEL_PX)
    return interpolate(described.frames.pictures, size, mode="bilinear", antialias=True)


def _crf(size: int) -> CrfOptions:
    return CrfOptions().at_scale(size / _OFFICIAL_PX)


def _of_frames(labels: Tensor, described: DescribedSet, foreground: Tensor | None) -> Tensor:
    """Labels (N, H, W) on the pixels of the frames, background on padding and off the foreground (N, 1, c, c)."""
    size = described.frames.size
    spread = interpolate(labels.unsqueeze(1).float(), (size, size), mode="nearest-exact").squeeze(1).long()
    kept = described.frames.valid(size)[:, 0] > 0
    if foreground is not None:
        kept &= interpolate(foreground, (size, size), mode="bilinear")[:, 0] > _ON_OBJECT
    return torch.where(kept, spread, BACKGROUND)


def _how_many(count: int) -> str:
    return {0: "No parts", 1: "Only one part"}.get(count, f"Only {count} parts")
