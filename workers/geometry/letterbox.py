"""Fitting a picture of any shape into the square working frame."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor


@dataclass(frozen=True)
class Letterbox:
    """Scales the longer side of a width x height picture to `size` and centres it in a size x size frame.

    Points are continuous pixels (x, y) on both sides. The odd pixel of an uneven gap goes after the picture.
    """

    width: int
    height: int
    size: int

    def __post_init__(self) -> None:
        if min(self.width, self.height, self.size) < 1:
            raise ValueError(f"sides {self.width} x {self.height} in a frame of {self.size}: all must be at least 1")

    @property
    def scale(self) -> float:
        """Frame pixels per picture pixel."""
        return self.size / max(self.width, self.height)

    @property
    def inner_width(self) -> int:
        """Width of the scaled picture, whole pixels."""
        return max(1, round(self.width * self.scale))

    @property
    def inner_height(self) -> int:
        """Height of the scaled picture, whole pixels."""
        return max(1, round(self.height * self.scale))

    @property
    def offset(self) -> tuple[int, int]:
        """Where the scaled picture's top-left corner lies in the frame, (x, y)."""
        return (self.size - self.inner_width) // 2, (self.size - self.inner_height) // 2

    def to_frame(self, points: Tensor) -> Tensor:
        """Picture pixels (..., 2) to frame pixels; each axis by its own exact ratio after rounding the side."""
        return points * points.new_tensor(self._ratios()) + points.new_tensor(self.offset)

    def to_picture(self, points: Tensor) -> Tensor:
        """Inverse of `to_frame`."""
        return (points - points.new_tensor(self.offset)) / points.new_tensor(self._ratios())

    def _ratios(self) -> tuple[float, float]:
        return self.inner_width / self.width, self.inner_height / self.height
