"""Places written as colours: a place is its coordinates + 0.5; all other colours mean that the object is not there."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from scipy.spatial import KDTree
from torch import Tensor

from workers.evaluation.procedural_shapes import RADIUS

Float32 = npt.NDArray[np.float32]

MIDDLE = 0.5
"""Grey, the colour of the origin."""
_TOLERANCE = 0.02
_BLANK = 0.1
_PATCHES_PER_SQUARE = 60


def is_place(colours: Tensor) -> Tensor:
    """Tell which colours (..., 3) in [0, 1] mean a place: those in the ball of radius 0.5 about grey."""
    inside: Tensor = (colours - MIDDLE).norm(dim=-1) <= RADIUS + _TOLERANCE
    return inside


def is_blank(colours: Tensor) -> Tensor:
    """Tell which colours (..., 3) in [0, 1] are nearly white or black: nothing is there."""
    return (colours > 1 - _BLANK).all(dim=-1) | (colours < _BLANK).all(dim=-1)


def marked_patches(width: int, height: int, rng: np.random.Generator) -> Float32:
    """Draw a background (height, width, 3) in [0, 1] of patches in colours that are neither places nor blank.

    The colours lie on those edges of the colour cube that do not touch white or black, 0.7 or more from grey.
    """
    count = max(8, round(_PATCHES_PER_SQUARE * width / height))
    seeds = rng.uniform(0, 1, (count, 2)) * (height, width)
    colours = np.stack([np.zeros(count), np.ones(count), rng.uniform(0, 1, count)], axis=1)
    pixels = np.argwhere(np.ones((height, width))).reshape(height, width, 2) + 0.5
    patches: Float32 = rng.permuted(colours, axis=1).astype(np.float32)[KDTree(seeds).query(pixels)[1]]
    return patches
