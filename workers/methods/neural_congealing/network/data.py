"""The set as training reads it: all pictures, and all of them mirrored, at the atlas' resolution."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import interpolate

from workers.geometry.coordinates import sample
from workers.methods.neural_congealing.network.objective import Seen


@dataclass(frozen=True)
class TrainingSet:
    """N pictures as they are, followed by the same mirrored where flips are looked for.

    Attributes:
        pictures: (M, 3, S, S) RGB in [0, 1], M = N or 2 N.
        keys: (M, C, R, R) features.
        masks: (M, 1, R, R) in [0, 1], 0 outside the picture.
        valid: (M, 1, R, R) in [0, 1], 0 outside the picture.
        count: N.
    """

    pictures: Tensor
    keys: Tensor
    masks: Tensor
    valid: Tensor
    count: int

    @property
    def can_mirror(self) -> bool:
        """Whether the mirrored pictures are there."""
        return len(self.pictures) > self.count

    def rows(self, images: Tensor, mirrored: Tensor) -> Tensor:
        """Indices (B,) into the tensors of images (B,), mirrored where (B,) is set."""
        return images + self.count * mirrored

    def read(self, rows: Tensor, grids: Tensor) -> Seen:
        """Read through maps (B, R, R, 2): keys beyond the edge repeat it; masks are 0 there."""
        with torch.no_grad():
            inside = sample(self.valid[rows], grids.detach(), padding="zeros")
        masks = sample(self.masks[rows], grids, padding="zeros")
        return Seen(sample(self.keys[rows], grids), masks.squeeze(1), inside.squeeze(1))


def training_set(
    pictures: Tensor,
    features: Tensor,
    masks: Tensor,
    valid: Tensor,
    mirrored_features: Tensor | None,
    *,
    image_size: int,
    atlas_size: int,
) -> TrainingSet:
    """Bring a set to the sizes of training; see `train` for the arguments.

    Raises:
        ValueError: shapes that do not fit, or fewer than two images.
    """
    _check_shapes(pictures, features, masks, valid, mirrored_features)
    pictures = _resized(pictures.float(), image_size)
    keys, masks, valid = (_resized(maps.float(), atlas_size) for maps in (features, masks * valid, valid))
    count = len(pictures)
    if mirrored_features is not None:
        pictures, masks, valid = (torch.cat([maps, maps.flip(-1)]) for maps in (pictures, masks, valid))
        keys = torch.cat([keys, _resized(mirrored_features.float(), atlas_size)])
    return TrainingSet(pictures, keys, masks, valid, count)


def _resized(maps: Tensor, size: int) -> Tensor:
    if maps.shape[-1] == size:
        return maps
    return interpolate(maps, (size, size), mode="bilinear", align_corners=False)


def _check_shapes(
    pictures: Tensor, features: Tensor, masks: Tensor, valid: Tensor, mirrored_features: Tensor | None
) -> None:
    count = len(pictures)
    if count < 2:
        raise ValueError(f"{count} image given; an alignment needs at least 2")
    if pictures.dim() != 4 or pictures.shape[1] != 3 or pictures.shape[2] != pictures.shape[3]:
        raise ValueError(f"pictures are {tuple(pictures.shape)}; use (N, 3, S, S)")
    if features.dim() != 4 or len(features) != count or features.shape[2] != features.shape[3]:
        raise ValueError(f"features are {tuple(features.shape)}; use ({count}, C, h, h)")
    expected = (count, 1, *features.shape[2:])
    for name, maps in (("masks", masks), ("valid", valid)):
        if tuple(maps.shape) != expected:
            raise ValueError(f"{name} are {tuple(maps.shape)}; use {expected}")
    if mirrored_features is not None and mirrored_features.shape != features.shape:
        raise ValueError(f"mirrored features are {tuple(mirrored_features.shape)}; use {tuple(features.shape)}")
