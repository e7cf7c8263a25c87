"""A beetle seen from above, with thin legs and feelers and wings of unequal size, in ten pictures."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from workers.evaluation.template import Float64, Template, Waves

Point = tuple[float, float]
Inside = npt.NDArray[np.bool_]

_LEG_RADIUS = 0.03
_FEELER_RADIUS = 0.022
_LEGS: tuple[tuple[Point, Point], ...] = (
    ((0.22, -0.09), (0.38, -0.38)),
    ((0.10, -0.10), (0.16, -0.48)),
    ((-0.30, -0.08), (-0.60, -0.30)),
    ((0.22, 0.09), (0.36, 0.40)),
    ((0.06, 0.10), (0.10, 0.48)),
    ((-0.30, 0.08), (-0.58, 0.36)),
)
_FEELERS: tuple[tuple[Point, Point], ...] = (((0.48, -0.06), (0.66, -0.24)), ((0.50, 0.06), (0.72, 0.14)))
_LEFT_WING = (-0.10, -0.24, 0.32, 0.13, 0.30)
_RIGHT_WING = (-0.14, 0.20, 0.26, 0.10, -0.25)


def _parts(u: Float64, v: Float64) -> Float64:
    body = ((u + 0.08) / 0.40) ** 2 + (v / 0.15) ** 2 < 1
    head = np.hypot(u - 0.42, v) < 0.12
    legs = np.any([_capsule(u, v, *leg, radius=_LEG_RADIUS) for leg in _LEGS], axis=0)
    feelers = np.any([_capsule(u, v, *feeler, radius=_FEELER_RADIUS) for feeler in _FEELERS], axis=0)
    wings = [_ellipse(u, v, *wing) for wing in (_LEFT_WING, _RIGHT_WING)]
    return np.stack([body, head, *wings, legs, feelers]).astype(np.float64)


def _ellipse(u: Float64, v: Float64, *shape: float) -> Inside:
    """Within an ellipse of centre (u, v), half-axes and angle (rad)."""
    centre_u, centre_v, long, short, angle = shape
    along = np.cos(angle) * (u - centre_u) + np.sin(angle) * (v - centre_v)
    across = np.cos(angle) * (v - centre_v) - np.sin(angle) * (u - centre_u)
    inside: Inside = (along / long) ** 2 + (across / short) ** 2 < 1
    return inside


def _capsule(u: Float64, v: Float64, start: Point, end: Point, *, radius: float) -> Inside:
    """Within `radius` of a straight line."""
    du, dv = end[0] - start[0], end[1] - start[1]
    share = np.clip(((u - start[0]) * du + (v - start[1]) * dv) / (du**2 + dv**2), 0, 1)
    inside: Inside = np.hypot(u - start[0] - share * du, v - start[1] - share * dv) < radius
    return inside


def _foreground_rgb(u: Float64, v: Float64, parts: Float64) -> Float64:
    waves = np.stack([np.sin(5 * v + 0.4), np.sin(8 * u + 2.2), np.sin(4 * (u - v) + 1)])
    tint = np.array([0.2, 0.7, 0.9])[:, None, None] * parts.argmax(axis=0) / 5
    rgb: Float64 = 0.7 * (0.45 + 0.45 * waves) + 0.3 * tint
    return rgb


def _background_rgb(x: Float64, y: Float64, index: int) -> Float64:
    red = 0.35 * np.cos((2 + index % 5) * y + 0.6 * index)
    green = 0.35 * np.sin((5 - index % 4) * x + index)
    blue = 0.35 * np.cos(4 * x * y - index)
    return np.stack([0.55 + red, 0.5 + green, 0.5 + blue])


BEETLE = Template(
    rotations_rad=(0.1, -0.35, 0.5, -0.15, 0.25, -0.5, 0.4, -0.05, -0.28, 0.33),
    scales=(1.0, 0.9, 0.8, 1.2, 0.7, 0.95, 1.1, 0.85, 1.05, 0.75),
    shifts=(
        (0.0, 0.05),
        (0.14, 0.06),
        (-0.18, 0.10),
        (-0.04, 0.02),
        (0.22, -0.20),
        (-0.08, -0.14),
        (0.03, 0.04),
        (-0.20, -0.06),
        (0.08, 0.12),
        (-0.05, 0.24),
    ),
    bend=((0.75, 0.29), (0.85, 0.41)),
    keypoints={
        "front": (0.51, 0.0),
        "waist": (0.29, 0.0),
        "middle": (-0.08, 0.0),
        "rear": (-0.45, 0.0),
        "left_wing_tip": (-0.38, -0.327),
        "right_wing_tip": (-0.37, 0.259),
        "left_front_foot": (0.375, -0.37),
        "left_middle_foot": (0.158, -0.47),
        "left_hind_foot": (-0.59, -0.293),
        "right_front_foot": (0.355, 0.39),
        "right_middle_foot": (0.099, 0.47),
        "right_hind_foot": (-0.572, 0.352),
        "left_feeler_tip": (0.653, -0.233),
        "right_feeler_tip": (0.71, 0.136),
    },
    part_names=("body", "head", "left_wing", "right_wing", "legs", "feelers"),
    parts=_parts,
    foreground_rgb=_foreground_rgb,
    background_rgb=_background_rgb,
    waves=Waves(
        u=(2.6, 1.3, 0.9),
        v=(3.2, 1.9, 0.2),
        phase=1.1,
        parts=(0.5, 0.9, 2),
        x=(2.2, 1.1, 0.9),
        y=(2.7, 1.7, 0.5),
        behind=(0.8, 0.7, 1.3),
    ),
)
