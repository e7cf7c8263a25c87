"""Smooth planar warps with a closed-form inverse, and the similarity that poses a drawing in a picture.

Every layer changes one coordinate only, by a function that is strictly increasing in it for any value of the
other (the triangular maps of normalising flows). So each layer, and every chain of them, is invertible on the
whole plane with a positive Jacobian determinant, and its inverse is exact to rounding.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt

Float64 = npt.NDArray[np.float64]
Profile = Callable[[Float64], Float64]


class Layer(Protocol):
    """An invertible map of coordinates x, y (arrays of one shape)."""

    def forward(self, x: Float64, y: Float64) -> tuple[Float64, Float64]: ...

    def inverse(self, x: Float64, y: Float64) -> tuple[Float64, Float64]: ...


@dataclass(frozen=True)
class Hinge:
    """Stretch one side of a line against the other: slope 1 - strength before `centre`, 1 + strength after.

    z' = z + a (sqrt(w^2 + z^2) - w) with z the distance from the line, |a| < 1.
    """

    axis: int
    centre: float
    strength: float
    softness: float

    def forward(self, x: Float64, y: Float64) -> tuple[Float64, Float64]:
        return self._apply(self._bend, x, y)

    def inverse(self, x: Float64, y: Float64) -> tuple[Float64, Float64]:
        return self._apply(self._unbend, x, y)

    def _apply(self, function: Profile, x: Float64, y: Float64) -> tuple[Float64, Float64]:
        if self.axis == 0:
            return function(x - self.centre) + self.centre, y
        return x, function(y - self.centre) + self.centre

    def _bend(self, z: Float64) -> Float64:
        bent: Float64 = z + self.strength * (np.hypot(self.softness, z) - self.softness)
        return bent

    def _unbend(self, bent: Float64) -> Float64:
        rest = 1.0 - self.strength**2
        shifted = bent + self.strength * self.softness
        root = np.sqrt(shifted**2 + rest * self.softness**2)
        z: Float64 = (shifted - self.strength * root) / rest
        return z


@dataclass(frozen=True)
class Bumps:
    """A smooth profile: a sum of Gaussians of one width on the real line."""

    centres: tuple[float, ...]
    heights: tuple[float, ...]
    width: float

    def __call__(self, t: Float64) -> Float64:
        centres, heights = np.array(self.centres), np.array(self.heights)
        values: Float64 = np.exp(-0.5 * ((t[..., None] - centres) / self.width) ** 2) @ heights
        return values


@dataclass(frozen=True)
class Thicken:
    """y' = y exp(g(x)): change the height of the drawing along its length."""

    log_scale: Bumps

    def forward(self, x: Float64, y: Float64) -> tuple[Float64, Float64]:
        return x, y * np.exp(self.log_scale(x))

    def inverse(self, x: Float64, y: Float64) -> tuple[Float64, Float64]:
        return x, y * np.exp(-self.log_scale(x))


@dataclass(frozen=True)
class Sway:
    """y' = y + g(x): bend the long axis."""

    offset: Bumps

    def forward(self, x: Float64, y: Float64) -> tuple[Float64, Float64]:
        return x, y + self.offset(x)

    def inverse(self, x: Float64, y: Float64) -> tuple[Float64, Float64]:
        return x, y - self.offset(x)


@dataclass(frozen=True)
class Sweep:
    """x' = x + k y + q y^2: slant the drawing and pull its upper and lower parts back."""

    slant: float
    pull: float

    def forward(self, x: Float64, y: Float64) -> tuple[Float64, Float64]:
        return x + (self.slant + self.pull * y) * y, y

    def inverse(self, x: Float64, y: Float64) -> tuple[Float64, Float64]:
        return x - (self.slant + self.pull * y) * y, y


@dataclass(frozen=True)
class Pose:
    """Similarity from the centred canonical frame to image pixels, then a mirroring if asked for.

    Attributes:
        rotation_rad: clockwise on the screen (y points down).
        scale_px: pixels a canonical unit.
        centre_px: image point of the canonical centre, before mirroring.
        mirror_width_px: image width if the picture is mirrored left to right, else None.
    """

    rotation_rad: float
    scale_px: float
    centre_px: tuple[float, float]
    mirror_width_px: float | None = None

    def forward(self, x: Float64, y: Float64) -> tuple[Float64, Float64]:
        cos, sin = self._rotation()
        image_x = cos * x - sin * y + self.centre_px[0]
        image_y = sin * x + cos * y + self.centre_px[1]
        return self._mirror(image_x), image_y

    def inverse(self, x: Float64, y: Float64) -> tuple[Float64, Float64]:
        cos, sin = self._rotation()
        dx, dy = self._mirror(x) - self.centre_px[0], y - self.centre_px[1]
        return (cos * dx + sin * dy) / self.scale_px**2, (cos * dy - sin * dx) / self.scale_px**2

    def _rotation(self) -> tuple[float, float]:
        return self.scale_px * np.cos(self.rotation_rad), self.scale_px * np.sin(self.rotation_rad)

    def _mirror(self, x: Float64) -> Float64:
        return x if self.mirror_width_px is None else self.mirror_width_px - x


@dataclass(frozen=True)
class Warp:
    """Canonical coordinates in [0, 1]^2 to image pixels: the shape layers in order, then the pose."""

    shape: tuple[Layer, ...]
    pose: Pose

    def to_image(self, canonical: npt.ArrayLike) -> Float64:
        """Canonical points (..., 2) to continuous image pixels (..., 2)."""
        x, y = np.moveaxis(np.asarray(canonical, dtype=np.float64) - 0.5, -1, 0)
        for layer in (*self.shape, self.pose):
            x, y = layer.forward(x, y)
        return np.stack([x, y], axis=-1)

    def to_canonical(self, image_points: npt.ArrayLike) -> Float64:
        """Continuous image pixels (..., 2) to canonical points (..., 2); the exact inverse of `to_image`."""
        x, y = np.moveaxis(np.asarray(image_points, dtype=np.float64), -1, 0)
        for layer in (self.pose, *reversed(self.shape)):
            x, y = layer.inverse(x, y)
        return np.stack([x, y], axis=-1) + 0.5


def pixel_centres(width: int, height: int) -> Float64:
    """Continuous coordinates (height, width, 2) of all pixel centres."""
    return np.stack(np.meshgrid(np.arange(width) + 0.5, np.arange(height) + 0.5), axis=-1)
