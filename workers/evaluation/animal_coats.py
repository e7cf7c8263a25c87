"""What the made-up animals wear: a colour for every place of their template."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt
from scipy.spatial import KDTree

from workers.evaluation.implicit_animal import EYES
from workers.evaluation.styles import rgb

Float32 = npt.NDArray[np.float32]
Float64 = npt.NDArray[np.float64]
Pattern = Literal["plain", "spots", "stripes", "patches"]

_LOW, _HIGH = (-0.7, -0.56, -0.2), (0.75, 0.56, 0.2)
_EYE_RADIUS = 0.034
_WAVES = 24


@dataclass(frozen=True)
class Palette:
    """Colours as hexadecimal RGB."""

    fur: str
    belly: str
    back: str
    pattern: str
    socks: str
    muzzle: str


PALETTES: tuple[tuple[Palette, Pattern], ...] = (
    (Palette("b5763a", "ecd3a4", "7a4520", "7a4520", "f1e3c8", "e8cfa4"), "plain"),
    (Palette("d9a94e", "f6e6bd", "8a5a22", "5b3517", "f6e6bd", "3b2a22"), "spots"),
    (Palette("ece7db", "fbf8f0", "c9c0ad", "2e2a2a", "f3eee2", "3a3130"), "stripes"),
    (Palette("e9e2d4", "fbf7ee", "d8cdb8", "4a3526", "d9ccb4", "d9a595"), "patches"),
    (Palette("6f7d8c", "c3ccd3", "414c59", "39434f", "333b45", "b9c2c9"), "spots"),
    (Palette("8a3f24", "d99a6c", "5a2413", "f0d9b5", "2c1c17", "2c1c17"), "stripes"),
    (Palette("3d3532", "7d6a5c", "241f1e", "d8cbb8", "cdbfa9", "a08a78"), "patches"),
    (Palette("a9a05a", "e6e0b4", "6c6a34", "5b5a2c", "59502c", "e6e0b4"), "spots"),
)
"""The template wears the first."""


@dataclass(frozen=True)
class Coat:
    """One animal's colours; see `coat_of`."""

    palette: Palette
    pattern: Pattern
    cells: Float64
    waves: Float64
    phases: Float64

    def __call__(self, points: Float64) -> Float32:
        """Colours (P, 3) in [0, 1] of places (P, 3) in the template's own units."""
        x, y, z = points.T
        colour = np.tile(rgb(self.palette.fur), (len(points), 1)).astype(np.float64)
        colour = _mix(colour, self.palette.belly, _smooth(-0.03, -0.16, y) * _smooth(0.62, 0.50, x) * (y > -0.3))
        colour = _mix(colour, self.palette.pattern, self._marks(points) * _smooth(-0.40, -0.28, y))
        colour = _mix(colour, self.palette.back, _smooth(0.045, 0.025, np.abs(z)) * _smooth(0.10, 0.15, y) * (x < 0.4))
        colour = _mix(colour, self.palette.socks, _smooth(-0.30, -0.34, y + 0.05 * np.sign(z) * (x > 0)))
        colour = _mix(colour, "2b2422", _smooth(-0.490, -0.500, y))
        colour = _mix(colour, self.palette.back, np.maximum(_smooth(0.46, 0.50, y), _smooth(-0.52, -0.58, x)))
        colour = _mix(colour, self.palette.muzzle, _smooth(0.610, 0.635, x - 0.5 * (y - 0.3)) * (y > 0))
        colour = _mix(colour, "2a2020", _smooth(0.045, 0.035, np.linalg.norm(points - (0.725, 0.285, 0), axis=1)))
        colour = self._flanks(colour, points)
        colour *= (1 + 0.05 * self._fur(points))[:, None]
        for eye in EYES:
            colour = _eye(colour, points, np.asarray(eye))
        return colour.clip(0, 1).astype(np.float32)

    def _marks(self, points: Float64) -> Float64:
        """How strongly the pattern shows (P,)."""
        if self.pattern == "plain":
            return np.zeros(len(points))
        if self.pattern == "stripes":
            bent = points[:, 0] + 0.06 * self._fur(points / 9) + 0.15 * np.abs(points[:, 2])
            return _smooth(0.15, 0.45, np.sin(bent * 62)) * _smooth(0.58, 0.50, points[:, 0])
        reach = 0.034 if self.pattern == "spots" else 0.105
        away = KDTree(self.cells if self.pattern == "spots" else self.cells[:9]).query(points)[0]
        return _smooth(reach, 0.8 * reach, away + 0.012 * self._fur(points / 4))

    def _flanks(self, colour: Float64, points: Float64) -> Float64:
        """A pale saddle on the right and two dark dots on the left, so that the sides can be told apart."""
        away = np.linalg.norm((points - (-0.05, 0.05, 0.15)) / (1.5, 1.0, 1.0), axis=1)
        colour = _mix(colour, "f4ead2", 0.85 * _smooth(0.085, 0.075, away))
        for x in (-0.12, 0.04):
            away = np.linalg.norm(points - (x, 0.05, -0.15), axis=1)
            colour = _mix(colour, "33231d", 0.85 * _smooth(0.048, 0.040, away))
        return colour

    def _fur(self, points: Float64) -> Float64:
        """Fine noise (P,) of about unit size."""
        found: Float64 = np.sqrt(2 / _WAVES) * np.cos(points @ self.waves + self.phases).sum(axis=1)
        return found


def coat_of(instance: int) -> Coat:
    """Return the coat of an animal; 0 is the template."""
    rng = np.random.default_rng([11, instance])
    palette, pattern = PALETTES[instance % len(PALETTES)]
    cells = rng.uniform(_LOW, _HIGH, (900, 3))
    return Coat(palette, pattern, cells, rng.normal(0, 70, (3, _WAVES)), rng.uniform(0, 2 * np.pi, _WAVES))


def _eye(colour: Float64, points: Float64, centre: Float64) -> Float64:
    away = np.linalg.norm(points - centre, axis=1) / _EYE_RADIUS
    colour = _mix(colour, "17120f", _smooth(1.02, 0.94, away))
    glint = np.linalg.norm(points - centre - (0.008, 0.011, 0), axis=1) / _EYE_RADIUS
    return _mix(colour, "ffffff", _smooth(0.55, 0.45, glint))


def _mix(colour: Float64, other: str, share: Float64) -> Float64:
    mixed: Float64 = colour + share[:, None] * (rgb(other) - colour)
    return mixed


def _smooth(start: float, end: float, value: Float64) -> Float64:
    """0 up to `start`, 1 from `end` on, smooth in between; `end` may be the smaller."""
    share = ((value - start) / (end - start)).clip(0, 1)
    found: Float64 = share**2 * (3 - 2 * share)
    return found
