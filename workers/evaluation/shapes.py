"""Individuals of the category: random proportions and poses."""

from __future__ import annotations

import math

import numpy as np

from workers.evaluation.anatomy import OUTLINES, smooth_outline
from workers.evaluation.warps import Bumps, Hinge, Layer, Pose, Sway, Sweep, Thicken, Warp

# Points all along the outlines of the parts that make up the silhouette, (M, 2) canonical.
OUTLINE = np.concatenate([smooth_outline(points) for points in OUTLINES.values()])

_MARGIN_PX = 10.0
_MAX_ROTATION_DEG = 35.0
_SCALES = (0.7, 1.15)


def random_warp(width: int, height: int, rng: np.random.Generator) -> Warp:
    """A shape and a pose that leaves the whole object on the picture."""
    shape = _random_shape(rng)
    angle = math.radians(rng.uniform(-_MAX_ROTATION_DEG, _MAX_ROTATION_DEG))
    scale = float(rng.uniform(*_SCALES)) * 0.4 * (width + height)
    outline = Warp(shape, Pose(angle, 1.0, (0.0, 0.0))).to_image(OUTLINE)
    low, high = outline.min(axis=0), outline.max(axis=0)
    room = np.array([width, height]) - 2 * _MARGIN_PX
    scale = min(scale, float((room / (high - low)).min()))
    first, last = _MARGIN_PX - scale * low, _MARGIN_PX + room - scale * high
    centre = first + (last - first) * rng.uniform(0.42, 0.58, size=2)
    return Warp(shape, Pose(angle, scale, (float(centre[0]), float(centre[1]))))


def _random_shape(rng: np.random.Generator) -> tuple[Layer, ...]:
    """Proportions of head, trunk, tail and fins, depth of the body, slant and a bend for swimming."""

    def bumps(scale: float, width: float, count: int) -> Bumps:
        heights = np.clip(rng.normal(0, scale, size=count), -1.8 * scale, 1.8 * scale)
        places = np.linspace(-0.45, 0.45, count)
        return Bumps(tuple(map(float, places)), tuple(map(float, heights)), width)

    def strength(limit: float) -> float:
        return float(rng.uniform(-limit, limit))

    return (
        Hinge(0, -0.18, strength(0.13), 0.10),
        Hinge(0, 0.30, strength(0.16), 0.08),
        Hinge(1, -0.22, strength(0.22), 0.07),
        Hinge(1, 0.22, strength(0.18), 0.07),
        Thicken(bumps(0.07, 0.2, 4)),
        Sweep(strength(0.09), strength(0.15)),
        Sway(bumps(0.025, 0.16, 5)),
    )
