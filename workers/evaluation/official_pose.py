"""How the official code of Telling Left from Right (arXiv 2311.17034) frames, mirrors and turns pictures and points."""

from __future__ import annotations

from math import ceil, sqrt

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image
from torch import Tensor

SIZE = 840
"""Side in pixels of the frame that annotations lie in."""
PATCHES = 60
"""Patches along it."""


def canonical_points(points: Tensor, width: int, height: int, *, size: int = SIZE) -> Tensor:
    """Points (K, 2) of a picture in its frame: one scale for both axes, whole pixels of padding."""
    scale = size / max(width, height)
    offset = [(size - round(side * scale)) // 2 for side in (width, height)]
    return points * scale + points.new_tensor(offset)


def patch_ids(points: Tensor, *, size: int = SIZE, patches: int = PATCHES) -> Tensor:
    """Numbers (K,) of the patches that frame points (K, 2) lie in, row-major; a point on the far edge has none."""
    column, row = (points * patches / size).floor().long().unbind(dim=1)
    return row * patches + column


def mirrored_points(points: Tensor, becomes: Tensor, *, size: int = SIZE) -> Tensor:
    """Where keypoints lie in the mirrored frame, each under the number (K,) that it becomes."""
    mirrored = torch.stack([size - points[:, 0], points[:, 1]], dim=1)
    return mirrored[becomes]


def turned(picture: npt.NDArray[np.uint8], degrees: float) -> npt.NDArray[np.uint8]:
    """A picture (H, W, 3) turned counter-clockwise: its edge repeated, nearest pixels, the central square kept."""
    height, width = picture.shape[:2]
    side = max(height, width)
    wide = ceil(sqrt(2) * side)
    gaps = [((wide - length) // 2, wide - length - (wide - length) // 2) for length in (height, width)]
    padded = np.pad(picture, [*gaps, (0, 0)], mode="edge")
    first = (wide - side) // 2
    rotated = np.array(Image.fromarray(padded).rotate(degrees, Image.Resampling.NEAREST))
    return rotated[first : first + side, first : first + side]
