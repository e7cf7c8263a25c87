"""Small shaded things for backgrounds: pebbles, bubbles, starfish, shells, brain corals, leaves.

A stamp gives colour (h, w, 3) and opacity (h, w) in [0, 1] over object coordinates x, y in about [-1.2, 1.2].
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

Float32 = npt.NDArray[np.float32]
Float64 = npt.NDArray[np.float64]
Painted = tuple[Float64, Float64]
Stamp = Callable[[Float64, Float64, Float64, float, np.random.Generator], Painted]


def place(
    canvas: Float32,
    stamp: Stamp,
    *,
    centre: tuple[float, float],
    radius: float,
    colour: Float64,
    shadow: float,
    rng: np.random.Generator,
) -> None:
    """Draw a stamp with a soft shadow onto a canvas (H, W, 3), in place.

    `centre` and `radius` are in pixels, `shadow` is its strength in [0, 1]; the turn is drawn from `rng`.
    """
    angle = rng.uniform(0, 2 * np.pi)
    reach = 1.5 * radius
    rows = slice(max(int(centre[1] - reach), 0), max(int(centre[1] + reach) + 1, 0))
    columns = slice(max(int(centre[0] - reach), 0), max(int(centre[0] + reach) + 1, 0))
    patch = canvas[rows, columns]
    if patch.size == 0:
        return
    y, x = np.mgrid[0 : patch.shape[0], 0 : patch.shape[1]]
    x, y = (x + columns.start + 0.5 - centre[0]) / radius, (y + rows.start + 0.5 - centre[1]) / radius
    shade = shadow * np.clip(3.1 - 2.5 * np.hypot(x - 0.12, y - 0.16), 0, 1)
    turned_x, turned_y = np.cos(angle) * x + np.sin(angle) * y, np.cos(angle) * y - np.sin(angle) * x
    light = np.array([np.cos(angle) * -0.5 + np.sin(angle) * -0.6, np.cos(angle) * -0.6 + np.sin(angle) * 0.5])
    painted, opacity = stamp(turned_x, turned_y, np.concatenate([colour, light]), 1.2 / radius, rng)
    shaded = patch * (1 - shade[..., None])
    weight = np.clip(opacity, 0, 1)[..., None]
    patch[...] = np.clip(shaded * (1 - weight) + painted * weight, 0, 1)


def _edge(distance: Float64, softness: float) -> Float64:
    covered: Float64 = np.clip(0.5 - distance / softness, 0, 1)
    return covered


def _dome(x: Float64, y: Float64, depth: Float64, paint: Float64) -> Float64:
    """Brightness of a dome whose height falls from 1 to 0 with `depth` going 0 to 1; light in paint[3:]."""
    height = np.sqrt(np.clip(1 - depth**2, 0, 1))
    lit = 0.42 + 0.42 * height + 0.42 * (x * paint[3] + y * paint[4])
    glossy: Float64 = lit + 0.25 * np.clip(lit, 0, 1.2) ** 8
    return glossy


def pebble(x: Float64, y: Float64, paint: Float64, softness: float, rng: np.random.Generator) -> Painted:
    """A rounded, irregular stone with veins."""
    y = y * rng.uniform(1.05, 1.6)
    theta = np.arctan2(y, x)
    waves = sum(rng.uniform(-0.06, 0.06) * np.cos(k * theta + rng.uniform(0, 6)) for k in (2, 3, 4, 5))
    depth = np.hypot(x, y) / (0.92 + waves)
    vein = np.sin(9 * x + 4 * np.sin(4 * y + rng.uniform(0, 6))) * np.sin(7 * y + rng.uniform(0, 6))
    colour = paint[:3] * (_dome(x, y, depth, paint) * (1 + 0.10 * vein))[..., None]
    return colour, _edge((depth - 1) * 0.9, softness)


def bubble(x: Float64, y: Float64, paint: Float64, softness: float, rng: np.random.Generator) -> Painted:
    """A clear bubble: a bright rim and two glints."""
    radius = np.hypot(x, y)
    rim = np.exp(-(((radius - 0.86) / 0.10) ** 2))
    glint = np.exp(-(np.hypot(x - 0.5 * paint[3], y - 0.5 * paint[4]) ** 2) / 0.02)
    low = 0.5 * np.exp(-(np.hypot(x + 0.55 * paint[3], y + 0.55 * paint[4]) ** 2) / 0.05)
    strength = rng.uniform(0.45, 0.7)
    opacity = strength * rim + 0.95 * glint + 0.6 * low + 0.10
    return np.ones((*x.shape, 3)) * [0.93, 0.98, 1.0], opacity * _edge(radius - 0.97, softness)


def starfish(x: Float64, y: Float64, paint: Float64, softness: float, rng: np.random.Generator) -> Painted:
    """Five knobbly arms."""
    theta, radius = np.arctan2(y, x), np.hypot(x, y)
    arm = np.abs((theta / (2 * np.pi / 5)) % 1 - 0.5) * 2
    bound = 0.34 + 0.68 * (1 - arm) ** rng.uniform(1.7, 2.4)
    depth = radius / bound
    ridge = np.exp(-(((arm * radius) / 0.10) ** 2))
    knobs = np.clip(np.sin(19 * radius) * np.cos(14 * arm * radius), 0, 1)
    bright = _dome(x * 0.6, y * 0.6, depth, paint) * (1 + 0.20 * ridge) + 0.28 * knobs
    return paint[:3] * bright[..., None], _edge((depth - 1) * 0.5, softness)


def shell(x: Float64, y: Float64, paint: Float64, softness: float, rng: np.random.Generator) -> Painted:
    """A scallop with ribs and growth rings."""
    theta, radius = np.arctan2(x, -(y - 0.75)), np.hypot(x, y - 0.75)
    span = np.clip(np.abs(theta) / 0.95, 0, 1)
    bound = 1.55 * (1 - 0.45 * span**2.5) * (1 + 0.02 * np.cos(theta * 19))
    outside = np.maximum(radius - bound, (np.abs(theta) - 0.95) * radius)
    ribs = 0.5 + 0.5 * np.cos(theta * 19)
    rings = 0.5 + 0.5 * np.sin(radius * rng.uniform(9, 15))
    bright = _dome(x * 0.7, y * 0.7, np.clip(radius / bound, 0, 1) * 0.8, paint) * (0.72 + 0.32 * ribs)
    pale = paint[:3] + 0.35 * (1 - paint[:3]) * rings[..., None]
    return pale * bright[..., None], _edge(outside, softness)


def brain_coral(x: Float64, y: Float64, paint: Float64, softness: float, rng: np.random.Generator) -> Painted:
    """A dome with winding ridges."""
    radius = np.hypot(x, y)
    a, b = x * rng.uniform(8, 11), y * rng.uniform(8, 11)
    phase = rng.uniform(0, 6)
    maze = np.sin(a + 2.2 * np.sin(0.8 * b + phase)) + np.sin(b + 2.2 * np.sin(0.9 * a - phase))
    ridges = 1 / (1 + np.exp(-3.5 * maze))
    bright = _dome(x, y, radius, paint) * (0.55 + 0.55 * ridges)
    return paint[:3] * bright[..., None], _edge(radius - 0.97 - 0.02 * maze, softness)


def leaf(x: Float64, y: Float64, paint: Float64, softness: float, rng: np.random.Generator) -> Painted:
    """A pointed leaf of algae with veins."""
    y = y - rng.uniform(-0.25, 0.25) * (1 - x**2)
    bound = rng.uniform(0.28, 0.42) * np.clip(1 - x**2, 0, 1) ** 0.8 * (1 + 0.25 * x)
    vein = np.exp(-((y / 0.025) ** 2)) + 0.5 * np.clip(np.cos(26 * (x - 0.8 * np.abs(y))) - 0.75, 0, 1) * 3
    bright = 0.75 + 0.5 * (y * paint[4] + 0.3 * x * paint[3]) + 0.22 * vein
    return paint[:3] * bright[..., None], _edge(np.maximum(np.abs(y) - bound, np.abs(x) - 1), softness)
