"""Small marks with smooth edges that can be seen on any ground."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt

Float32 = npt.NDArray[np.float32]
Place = tuple[float, float]
Colour = Sequence[float]

LIGHT = (255, 255, 255)
DARK = (24, 26, 30)


def disc(canvas: Float32, centre: Place, radius: float, colour: Colour, opacity: float) -> None:
    """Paint a disc with a white and round it a dark ring.

    Args:
        canvas: (H, W, 3) in [0, 255], changed in place; what would lie outside it is left out.
        centre: (x, y) in pixels, 0 at the canvas' left or upper edge.
        radius: pixels, rings included.
        colour: of the fill, in [0, 255].
        opacity: of the fill, in [0, 1]; the rings stay.
    """
    dark, light = _ring_widths(radius)
    inside = radius - dark
    fill = inside - light
    layers = [(DARK, inside, radius, 1.0), (LIGHT, fill, inside, 1.0), (colour, -1.0, fill, opacity)]
    _paint(canvas, centre, radius, lambda x, y: np.hypot(x, y), layers)


def ring(canvas: Float32, centre: Place, radius: float) -> None:
    """Paint a white ring between two dark ones, empty inside; arguments as of `disc`."""
    dark, light = 1.25, 2.0
    layers = [
        (DARK, radius - dark, radius, 1.0),
        (LIGHT, radius - dark - light, radius - dark, 1.0),
        (DARK, radius - 2 * dark - light, radius - dark - light, 1.0),
    ]
    _paint(canvas, centre, radius, lambda x, y: np.hypot(x, y), layers)


def cross(canvas: Float32, centre: Place, radius: float) -> None:
    """Paint a white upright cross with a dark rim; arguments as of `disc`."""
    dark, half = 1.25, 1.0

    def to_arms(x: Float32, y: Float32) -> Float32:
        along, across = np.maximum(np.abs(x), np.abs(y)), np.minimum(np.abs(x), np.abs(y))
        return np.asarray(np.maximum(across, along - (radius - dark - half)), dtype=np.float32)

    _paint(canvas, centre, radius, to_arms, [(DARK, half, half + dark, 1.0), (LIGHT, -1.0, half, 1.0)])


def _ring_widths(radius: float) -> tuple[float, float]:
    """Of the dark and the white ring; thin where the disc is small."""
    return min(1.0, 0.15 * radius), min(1.5, 0.22 * radius)


def _paint(
    canvas: Float32,
    centre: Place,
    reach: float,
    distance: Callable[[Float32, Float32], Float32],
    layers: Sequence[tuple[Colour, float, float, float]],
) -> None:
    """Blend layers (colour, from, up to which distance, opacity), none over another, into the pixels near a place."""
    height, width = canvas.shape[:2]
    left, right = _span(centre[0], reach, width)
    top, bottom = _span(centre[1], reach, height)
    if left >= right or top >= bottom:
        return
    x = np.arange(left, right, dtype=np.float32)[None, :] + np.float32(0.5 - centre[0])
    y = np.arange(top, bottom, dtype=np.float32)[:, None] + np.float32(0.5 - centre[1])
    away = distance(x, y)
    patch = canvas[top:bottom, left:right]
    painted = np.zeros_like(patch)
    covered = np.zeros_like(patch[..., :1])
    for colour, near, far, opacity in layers:
        share = opacity * (_within(away, far) - _within(away, near))[..., None]
        painted += share * np.asarray(colour, dtype=np.float32)
        covered += share
    patch[:] = patch * (1 - covered) + painted


def _span(place: float, reach: float, size: int) -> tuple[int, int]:
    return max(0, math.floor(place - reach - 1)), min(size, math.ceil(place + reach + 1))


def _within(away: Float32, radius: float) -> Float32:
    """Share of each pixel that is nearer than a radius."""
    return np.asarray((radius - away + 0.5).clip(0, 1), dtype=np.float32)
