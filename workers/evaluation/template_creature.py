"""A flat four-legged creature seen from the side, in eight pictures."""

from __future__ import annotations

import numpy as np

from workers.evaluation.template import Float64, Template, Waves


def _parts(u: Float64, v: Float64) -> Float64:
    body = (u / 0.42) ** 2 + (v / 0.3) ** 2 < 1
    head = np.hypot(u - 0.40, v + 0.25) < 0.17
    tail = (u > -0.62) & (u < -0.30) & (np.abs(v + 0.08 - 0.3 * (u + 0.30)) < 0.06)
    leg_height = (v > 0.1) & (v < 0.5)
    legs = [(np.abs(u - centre) < 0.05) & leg_height for centre in (0.22, -0.24)]
    return np.stack([body, head, tail, *legs]).astype(np.float64)


def _foreground_rgb(u: Float64, v: Float64, parts: Float64) -> Float64:
    waves = np.stack([np.sin(6 * u + 1), np.sin(7 * v + 2), np.sin(5 * (u + v))])
    tint = np.array([0.9, 0.4, 0.2])[:, None, None] * parts.argmax(axis=0) / 4
    rgb: Float64 = 0.75 * (0.5 + 0.5 * waves) + 0.25 * tint
    return rgb


def _background_rgb(x: Float64, y: Float64, index: int) -> Float64:
    red = 0.4 * np.sin((3 + index) * x + index)
    green = 0.4 * np.cos((4 + index % 3) * y - index)
    blue = 0.4 * np.sin(3 * x * y + 2 * index)
    return np.stack([0.5 + red, 0.5 + green, 0.5 + blue])


CREATURE = Template(
    rotations_rad=(0.0, 0.30, -0.25, 0.45, -0.40, 0.15, -0.10, 0.35),
    scales=(1.0, 0.85, 1.10, 0.75, 0.95, 1.15, 0.80, 0.90),
    shifts=(
        (0.0, 0.0),
        (0.12, -0.10),
        (-0.10, 0.08),
        (0.20, 0.12),
        (-0.22, 0.10),
        (0.05, -0.05),
        (-0.15, 0.15),
        (0.10, -0.12),
    ),
    bend=((0.9, 0.37), (0.8, 0.53)),
    keypoints={
        "head_outer": (0.47, -0.33),
        "neck": (0.33, -0.18),
        "back": (0.0, -0.25),
        "belly": (0.0, 0.25),
        "tail_root": (-0.36, -0.05),
        "tail_tip": (-0.58, -0.16),
        "front_foot": (0.22, 0.46),
        "front_hip": (0.22, 0.15),
        "hind_foot": (-0.24, 0.46),
        "hind_hip": (-0.24, 0.15),
        "chest": (0.36, 0.05),
        "middle": (0.15, 0.0),
    },
    part_names=("body", "head", "tail", "front_leg", "hind_leg"),
    parts=_parts,
    foreground_rgb=_foreground_rgb,
    background_rgb=_background_rgb,
    waves=Waves(
        u=(3, 1.7, 0.3),
        v=(3, 2.3, 0.9),
        phase=0.8,
        parts=(0.6, 1.1, 1),
        x=(2.5, 1.3, 1.1),
        y=(2.5, 2.1, 0.7),
        behind=(0.8, 0.5, 1),
    ),
)
