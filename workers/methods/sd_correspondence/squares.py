"""Images of any shape as squares, and points there and back."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn.functional import interpolate, pad

Points = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Square:
    """How an image of `width` x `height` pixels lies in a square of `size` pixels: in a box (x, y, width, height)."""

    width: int
    height: int
    size: int
    box: tuple[int, int, int, int]

    @property
    def is_full(self) -> bool:
        """Whether the image fills the square."""
        return self.box == (0, 0, self.size, self.size)

    @property
    def pixel(self) -> float:
        """Pixels of the image to one of the square, along the finer axis."""
        return min(self.width / self.box[2], self.height / self.box[3])

    def inward(self, points: npt.NDArray[np.floating]) -> Points:
        """Pixels (P, 2) of the image to pixels of the square."""
        x, y, width, height = self.box
        return np.asarray(points, np.float64) * [width / self.width, height / self.height] + [x, y]

    def outward(self, points: npt.NDArray[np.floating]) -> Points:
        """Pixels (P, 2) of the square to pixels of the image."""
        x, y, width, height = self.box
        return (np.asarray(points, np.float64) - [x, y]) * [self.width / width, self.height / height]

    def inside(self) -> Tensor:
        """Pixels (S, S) bool of the square that show the image."""
        x, y, width, height = self.box
        found = torch.zeros(self.size, self.size, dtype=torch.bool)
        found[y : y + height, x : x + width] = True
        return found


def stretched(width: int, height: int, size: int) -> Square:
    """Fill the square; the aspect gives way, as in the official code."""
    return Square(width, height, size, (0, 0, size, size))


def padded(width: int, height: int, size: int) -> Square:
    """Keep the aspect; the image lies in the middle."""
    scale = size / max(width, height)
    across, down = max(1, round(width * scale)), max(1, round(height * scale))
    return Square(width, height, size, ((size - across) // 2, (size - down) // 2, across, down))


def square_picture(rgb: npt.NDArray[np.uint8], square: Square) -> Tensor:
    """Bring an image (H, W, 3) into its square (3, S, S) in [0, 1]; round it, its edges are repeated."""
    x, y, width, height = square.box
    picture = torch.from_numpy(np.ascontiguousarray(rgb)).permute(2, 0, 1)[None].float() / 255
    picture = interpolate(picture, (height, width), mode="bilinear", antialias=True, align_corners=False)
    right, bottom = square.size - x - width, square.size - y - height
    return pad(picture, (x, right, y, bottom), mode="replicate")[0].clamp(0, 1)
