"""What a template of the analytic sets is: its parts, colours, features, keypoints and the poses of its pictures.

A template lives in (u, v) in [-1, 1], u to the right and v down. Image i shows template point

    t = w + a d_i(w),   w = R_i^T (p - c_i) / s_i,   p in [-1, 1]^2 the normalised image point,

with d_i a smooth displacement and a its amplitude.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Float64 = npt.NDArray[np.float64]

FEATURE_DIM = 32
_FIXED_POINT_STEPS = 60


@dataclass(frozen=True)
class Waves:
    """The features' formula; k is the channel, q the part, i the image.

    Foreground: sin(a sin(b k + c) u + d cos(e k + f) v + phase k) + gain sum_q cos(turn k (q + 1) + step q) part_q.
    Background: gain sin(a cos(b k + c i) x + d sin(e k + f i) y + turn k + step i).

    Attributes:
        u, v: (a, b, c) and (d, e, f) of the foreground.
        phase: of the foreground.
        parts: (gain, turn, step) of the foreground.
        x, y: (a, b, c) and (d, e, f) of the background.
        behind: (gain, turn, step) of the background.
    """

    u: tuple[float, float, float]
    v: tuple[float, float, float]
    phase: float
    parts: tuple[float, float, float]
    x: tuple[float, float, float]
    y: tuple[float, float, float]
    behind: tuple[float, float, float]

    def foreground(self, u: Float64, v: Float64, parts: Float64) -> Float64:
        """Features (32, h, w) at template points with memberships (Q, h, w)."""
        k = np.arange(FEATURE_DIM)[:, None, None]
        (a, b, c), (d, e, f) = self.u, self.v
        waves = np.sin(a * np.sin(b * k + c) * u + d * np.cos(e * k + f) * v + self.phase * k)
        gain, turn, step = self.parts
        q = np.arange(len(parts))
        weights = np.cos(turn * np.arange(FEATURE_DIM)[:, None] * (q + 1) + step * q)
        features: Float64 = waves + gain * np.tensordot(weights, parts, axes=1)
        return features

    def background(self, x: Float64, y: Float64, index: int) -> Float64:
        """Features (32, h, w) at normalised image points of image `index`."""
        k = np.arange(FEATURE_DIM)[:, None, None]
        (a, b, c), (d, e, f), (gain, turn, step) = self.x, self.y, self.behind
        fx, fy = a * np.cos(b * k + c * index), d * np.sin(e * k + f * index)
        features: Float64 = gain * np.sin(fx * x + fy * y + turn * k + step * index)
        return features


@dataclass(frozen=True)
class Template:
    """One kind of thing, and how its pictures show it.

    Attributes:
        rotations_rad, scales, shifts: per picture, template to normalised image.
        bend: ((a, b), (c, d)): the displacement is sin(pi (a v + b i)) cos(pi u / 2) along u and
            cos(pi (c u + d i)) cos(pi v / 2) along v.
        keypoints: (u, v) by name.
        part_names: in the order of `parts`.
        parts: memberships (Q, ...), 0 or 1, at template coordinates u and v.
        foreground_rgb: (3, ...) at u and v with memberships.
        background_rgb: (3, ...) at x and y of image i.
        waves: the features.
    """

    rotations_rad: tuple[float, ...]
    scales: tuple[float, ...]
    shifts: tuple[tuple[float, float], ...]
    bend: tuple[tuple[float, float], tuple[float, float]]
    keypoints: Mapping[str, tuple[float, float]]
    part_names: tuple[str, ...]
    parts: Callable[[Float64, Float64], Float64]
    foreground_rgb: Callable[[Float64, Float64, Float64], Float64]
    background_rgb: Callable[[Float64, Float64, int], Float64]
    waves: Waves

    @property
    def count(self) -> int:
        """Number of pictures."""
        return len(self.rotations_rad)

    @property
    def points(self) -> Float64:
        """The keypoints (K, 2)."""
        return np.array(list(self.keypoints.values()))

    def to_template(self, index: int, normalised: Float64, amplitude: float) -> Float64:
        """Points (..., 2) of image `index` in [-1, 1] to template points (..., 2)."""
        undone: Float64 = (normalised - np.array(self.shifts[index])) @ self._rotation(index) / self.scales[index]
        return undone + self._displacement(undone, index, amplitude)

    def to_image(self, index: int, points: Float64, amplitude: float) -> Float64:
        """Inverse of `to_template`, by fixed-point iterations."""
        deformed = points
        for _ in range(_FIXED_POINT_STEPS):
            deformed = points - self._displacement(deformed, index, amplitude)
        image: Float64 = self.scales[index] * deformed @ self._rotation(index).T + np.array(self.shifts[index])
        return image

    def _rotation(self, index: int) -> Float64:
        cos, sin = np.cos(self.rotations_rad[index]), np.sin(self.rotations_rad[index])
        return np.array([[cos, -sin], [sin, cos]])

    def _displacement(self, points: Float64, index: int, amplitude: float) -> Float64:
        u, v = points[..., 0], points[..., 1]
        (a, b), (c, d) = self.bend
        du = np.sin(np.pi * (a * v + b * index)) * np.cos(np.pi * u / 2)
        dv = np.cos(np.pi * (c * u + d * index)) * np.cos(np.pi * v / 2)
        return amplitude * np.stack([du, dv], axis=-1)
