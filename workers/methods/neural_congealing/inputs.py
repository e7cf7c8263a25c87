"""The set as both modes take it: working frames, their features, masks, and how to look again."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import interpolate

from api_schemas.backbones import BUILT_IN_BACKBONES
from api_schemas.methods.neural_congealing import NeuralCongealingParams
from workers.backbones.base import Backbone
from workers.backbones.registry import BackboneProvider
from workers.geometry.coordinates import identity_grid, sample
from workers.geometry.similarity import transform
from workers.imaging.frames import WorkingFrames
from workers.methods.base import InputImage
from workers.methods.features import Heartbeat, describe, describe_frames, describe_set
from workers.methods.masks import object_masks
from workers.run_context import Run

VIEWS_AT_ONCE = 4


@dataclass(frozen=True)
class DescribedSet:
    """N images in their working frames.

    Attributes:
        backbone: what described them.
        frames: pictures (N, 3, S, S) and where the uploads lie in them.
        features: (N, C, c, c).
        mirrored_features: the same of the pictures mirrored left to right; None where they are not needed, or where
            `looks_again`.
        masks: (N, 1, c, c) in [0, 1], or None where everything counts.
        valid: (N, 1, c, c) in [0, 1], 0 on padding.
        looks_again: whether pictures are described anew as they become aligned, as built-in features need, which
            change when a picture turns.
    """

    backbone: Backbone
    frames: WorkingFrames
    features: Tensor
    mirrored_features: Tensor | None
    masks: Tensor | None
    valid: Tensor
    looks_again: bool

    def describer(self, pulse: Heartbeat) -> ViewDescriber | None:
        """What looks again, showing life through `pulse`."""
        if not self.looks_again:
            return None
        return ViewDescriber(self.backbone, self.frames.pictures, pulse, cells=self.features.shape[-1])


def described_set(
    backbones: BackboneProvider,
    images: Sequence[InputImage],
    params: NeuralCongealingParams,
    run: Run,
    pulse: Heartbeat,
) -> DescribedSet:
    """Letterbox and describe images as a job's parameters ask for.

    Raises:
        ValueError: images that show nothing, or masks that do not fit; names them.
    """
    backbone = backbones.get(params.backbone, params.features)
    frames, features = describe_set(
        backbone, images, size=params.working_size, device=run.device, pulse=pulse, cache=backbones.cache
    )
    looks_again = params.mode == "direct" and (searches(params, backbone) or is_built_in(backbone))
    mirrored = None
    if params.flips == "auto" and not looks_again:
        mirrored = describe_frames(backbone, frames.mirrored(), pulse, backbones.cache)
    return DescribedSet(
        backbone=backbone,
        frames=frames,
        features=features,
        mirrored_features=mirrored,
        masks=object_masks(backbones, params, features, frames, images, seed=run.seed, tick=pulse.beat),
        valid=frames.valid(features.shape[-1]),
        looks_again=looks_again,
    )


def searches(params: NeuralCongealingParams, backbone: Backbone) -> bool:
    """Whether the first alignment is searched for rather than matched."""
    return is_built_in(backbone) if params.start == "auto" else params.start == "search"


def is_built_in(backbone: Backbone) -> bool:
    """Whether a backbone came along: hand-made features and those of a small network change when a picture turns."""
    return backbone.name in BUILT_IN_BACKBONES


def _view(picture: Tensor, matrix: Tensor, *, turned: bool) -> Tensor:
    picture = picture.flip(-1) if turned else picture
    cell_centres = identity_grid(*picture.shape[-2:], device=picture.device)
    return sample(picture, transform(matrix.unsqueeze(0), cell_centres.unsqueeze(0)))


class ViewDescriber:
    """Describes pictures seen through similarities; see `workers.methods.neural_congealing.views.Describer`."""

    def __init__(self, backbone: Backbone, pictures: Tensor, pulse: Heartbeat, *, cells: int) -> None:
        """Look at pictures (N, 3, S, S), whose features have `cells` a side, with `backbone`."""
        self._backbone, self._pulse, self._cells = backbone, pulse, cells
        self._pictures = {cells: pictures}

    def __call__(self, images: Sequence[int], matrices: Tensor, mirrored: Sequence[bool], *, cells: int) -> Tensor:
        """Features (M, C, cells, cells) of M views; with fewer cells, of pictures that are smaller by as much."""
        pictures = self._resized(cells)
        views = [
            _view(pictures[image : image + 1], matrix, turned=turned)
            for image, matrix, turned in zip(images, matrices, mirrored, strict=True)
        ]
        described = []
        for start in range(0, len(views), VIEWS_AT_ONCE):
            together = torch.cat(views[start : start + VIEWS_AT_ONCE])
            described.append(describe(self._backbone, together, cells=cells, tick=self._pulse.beat))
            self._pulse.beat()
        return torch.cat(described)

    def _resized(self, cells: int) -> Tensor:
        if cells not in self._pictures:
            full = self._pictures[self._cells]
            side = round(full.shape[-1] * cells / self._cells)
            self._pictures[cells] = interpolate(full, (side, side), mode="bilinear", antialias=True)
        return self._pictures[cells]
