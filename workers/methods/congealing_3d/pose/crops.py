"""Square crops of the images around their objects."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn.functional import grid_sample

from workers.methods.base import InputImage
from workers.methods.congealing_3d.pose.bank import BACKGROUND
from workers.methods.congealing_3d.pose.grid import MARGIN
from workers.rendering.rasteriser import pixel_centres

LEAST_SHARE = 0.01
"""Share of the picture that an object must cover."""
FULL_SHARE = 0.995
"""Share from which on a mask says nothing."""


@dataclass(frozen=True)
class Crops:
    """Crops of N images.

    Attributes:
        windows: (N, 3) in picture coordinates: centre x, y and half the side.
        pictures: (N, 3, S, S) RGB in [0, 1]; white outside masks and pictures.
        masks: (N, 1, S, S) in [0, 1], or None where nothing is known.
    """

    windows: Tensor
    pictures: Tensor
    masks: Tensor | None


def object_windows(images: Sequence[InputImage], masks: Sequence[npt.NDArray[np.floating]] | None) -> Tensor:
    """Square windows (N, 3) around the objects: tight around masks, else around boxes, else the whole pictures.

    Args:
        images: N of them.
        masks: (H, W) each, in [0, 1], or None.
    """
    rows = []
    for index, image in enumerate(images):
        box = (0.0, 0.0, float(image.width), float(image.height))
        if masks is not None:
            box = _mask_box(masks[index])
        elif image.annotation is not None and image.annotation.box is not None:
            box = image.annotation.box
        rows.append(_window(box, image))
    return torch.tensor(rows, dtype=torch.float32)


def cropped(
    images: Sequence[InputImage], windows: Tensor, masks: Sequence[npt.NDArray[np.floating]] | None, size: int
) -> Crops:
    """Cut windows (N, 3) out of the images, S = `size` pixels a side; what the masks leave out becomes white."""
    pictures, shares = [], []
    for index, image in enumerate(images):
        rgb = torch.from_numpy(image.rgb.astype(np.float32) / 255).permute(2, 0, 1)
        share = torch.ones(1, image.height, image.width)
        if masks is not None:
            share = torch.from_numpy(np.ascontiguousarray(masks[index], dtype=np.float32)).unsqueeze(0)
        crop = _read(torch.cat([rgb * share, share]), windows[index : index + 1], size)
        pictures.append(crop[:3] + BACKGROUND * (1 - crop[3:]))
        shares.append(crop[3:])
    found = torch.stack(shares) if masks is not None else None
    return Crops(windows, torch.stack(pictures), found)


def _mask_box(mask: npt.NDArray[np.floating]) -> tuple[float, float, float, float]:
    rows, columns = np.nonzero(mask > 0.5)
    return float(columns.min()), float(rows.min()), float(columns.max() + 1), float(rows.max() + 1)


def _window(box: tuple[float, float, float, float], image: InputImage) -> tuple[float, float, float]:
    left, top, right, bottom = box
    unit = image.height / 2
    x, y = ((left + right) / 2 - image.width / 2) / unit, ((top + bottom) / 2 - image.height / 2) / unit
    return x, y, max(right - left, bottom - top) / 2 / unit * MARGIN


def _read(picture: Tensor, window: Tensor, size: int) -> Tensor:
    """Read a picture (C, H, W) in a window (1, 3): (C, S, S), means over its pixels, 0 outside the picture."""
    height, width = picture.shape[-2:]
    side_px = float(window[0, 2]) * height
    fine = max(1, min(8, round(side_px / size)))
    places = pixel_centres(window, size * fine) / torch.tensor([width / height, 1.0])
    found = grid_sample(picture.unsqueeze(0), places, padding_mode="zeros", align_corners=False)
    return torch.nn.functional.avg_pool2d(found, fine)[0]
