"""Masks that a user gives, brought onto the cells of the features."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn.functional import adaptive_avg_pool2d

from workers.geometry.letterbox import Letterbox
from workers.imaging.frames import WorkingFrames, inner_slices

GivenMask = npt.NDArray[np.bool_] | npt.NDArray[np.uint8] | npt.NDArray[np.floating]
_FULL = 255


def user_masks(given: Sequence[GivenMask], frames: WorkingFrames, names: Sequence[str], *, cells: int) -> Tensor:
    """Share of each cell that the object covers, (N, 1, cells, cells) in [0, 1]; what lies beside the picture is 0.

    Args:
        given: one mask (H, W) per image, at that image's own size: bool; uint8 of 0 and 1, or of 0 to 255; or floats
            in [0, 1].
        frames: the images in their working frames.
        names: of the images, for messages.

    Raises:
        ValueError: a mask does not fit its image, is empty, or holds values outside its range; names the image.
    """
    if len(given) != len(frames.boxes):
        raise ValueError(f"{len(given)} masks for {len(frames.boxes)} images; give one per image, in the same order")
    framed = [
        _framed(_shares(mask, box, name), box) for mask, box, name in zip(given, frames.boxes, names, strict=True)
    ]
    return adaptive_avg_pool2d(torch.stack(framed).to(frames.pictures.device), cells)


def _shares(mask: GivenMask, box: Letterbox, name: str) -> npt.NDArray[np.float32]:
    """Check a mask and scale it to [0, 1]."""
    if mask.shape != (box.height, box.width):
        raise ValueError(
            f"the mask of {name} has shape {mask.shape}, its image {(box.height, box.width)} (rows, columns); "
            "give one value per pixel of the image"
        )
    kind = mask.dtype.kind
    if kind != "b" and mask.dtype != np.uint8 and kind != "f":
        raise ValueError(f"the mask of {name} holds {mask.dtype}; give bool, uint8 or floats in [0, 1]")
    values = mask.astype(np.float32)
    if not np.isfinite(values).all():
        raise ValueError(f"the mask of {name} holds values that are not finite; use 0 for background")
    if mask.dtype == np.uint8 and values.max() > 1:
        values /= _FULL
    if values.min() < 0 or values.max() > 1:
        raise ValueError(f"the mask of {name} spans {values.min():g} to {values.max():g}; floats must be in [0, 1]")
    if not values.any():
        raise ValueError(f"the mask of {name} is empty; mark the object, or leave the image out")
    return values


def _framed(values: npt.NDArray[np.float32], box: Letterbox) -> Tensor:
    inner = adaptive_avg_pool2d(torch.from_numpy(values)[None, None], (box.inner_height, box.inner_width))
    frame = torch.zeros(1, box.size, box.size)
    frame[:, *inner_slices(box)] = inner[0]
    return frame
