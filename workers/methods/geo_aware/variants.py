"""Poses in which a picture is tried: mirrored and turned (Telling Left from Right, arXiv 2311.17034).

Frames are square, their coordinates normalised to [-1, 1] (`workers.geometry.coordinates`). A variant is mirrored
first, left to right, then turned counter-clockwise about the frame's centre. The official code tries the picture as
it is and mirrored.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import cos, radians, sin
from types import MappingProxyType
from typing import Literal

import torch
from torch import Tensor
from torch.nn.functional import grid_sample

from workers.geometry.coordinates import identity_grid, sample

Laterality = Literal["native", "mirrored"]

_DEGREES = (0, 90, 180, 270, 30, -30, 45, -45)
_QUARTER = 90


@dataclass(frozen=True)
class Variant:
    """One pose.

    Attributes:
        name: as users type it.
        flip: mirrored left to right, first.
        degrees: turned counter-clockwise, then.
    """

    name: str
    flip: bool
    degrees: int


def _named(flip: bool, degrees: int) -> Variant:
    words = ["flip"] * flip + [f"rot{degrees}"] * bool(degrees)
    return Variant("_".join(words) or "id", flip, degrees)


VARIANTS: Mapping[str, Variant] = MappingProxyType(
    {variant.name: variant for degrees in _DEGREES for variant in (_named(False, degrees), _named(True, degrees))}
)
"""By name: `id`, `flip`, `rot90`, `flip_rot90` and so on, for 90, 180, 270, 30, -30, 45 and -45 degrees."""


def picture(frame: Tensor, variant: Variant) -> Tensor:
    """The frame (C, S, S) as the variant shows it.

    Quarter turns move pixels; other angles are read bilinearly, with the frame's edge repeated outside.
    """
    mirrored = frame.flip(-1) if variant.flip else frame
    if variant.degrees % _QUARTER == 0:
        return torch.rot90(mirrored, variant.degrees // _QUARTER, (-2, -1))
    return sample(mirrored.unsqueeze(0), _readings(frame, variant).to(frame))[0]


def mask(inside: Tensor, variant: Variant) -> Tensor:
    """A mask (h, w) bool of a frame as the variant shows it: nearest cells; what lies outside the frame is not inside.

    (w, h) after an odd number of quarter turns.
    """
    mirrored = inside.flip(-1) if variant.flip else inside
    if variant.degrees % _QUARTER == 0:
        return torch.rot90(mirrored, variant.degrees // _QUARTER, (-2, -1))
    maps, places = mirrored[None, None].float(), _readings(inside, variant)
    return grid_sample(maps, places, mode="nearest", padding_mode="zeros", align_corners=False)[0, 0] > 0


def to_variant(points: Tensor, variant: Variant) -> Tensor:
    """Where points (..., 2) of the frame lie in the variant, both in [-1, 1]; a turn may bring them outside."""
    mirrored = _mirrored(points) if variant.flip else points
    return _turned(mirrored, variant.degrees)


def from_variant(points: Tensor, variant: Variant) -> Tensor:
    """Inverse of `to_variant`."""
    back = _turned(points, -variant.degrees)
    return _mirrored(back) if variant.flip else back


def laterality(variant: Variant) -> Laterality:
    """Whether left and right are what they seem: in a mirrored picture a left paw plays a right one."""
    return "mirrored" if variant.flip else "native"


@dataclass(frozen=True)
class Choice:
    """Which variant suits best.

    Attributes:
        index: its number.
        margin: the smallest distance of another variant less its own; below 0 if it was kept although another is
            nearer; NaN if its own or all others are unknown.
    """

    index: int
    margin: float


def choose(distances: Tensor, min_relative_gain: float = 0.0) -> int:
    """Number of the variant with the smallest distance.

    Args:
        distances: (V,), V >= 1, the picture as it is first; NaN where unknown, which is never chosen.
        min_relative_gain: the first is kept unless the smallest is below its distance by more than this share of it;
            0 is the official rule. Among others, and if the first is unknown, the smallest is taken, on ties the
            first of them; if all are unknown, the first.
    """
    known = distances.double().nan_to_num(torch.inf, torch.inf)
    best = int(known.argmin())
    first = float(known[0])
    return best if float(known[best]) < first - min_relative_gain * abs(first) or first == torch.inf else 0


def chosen(distances: Tensor, min_relative_gain: float = 0.0) -> Choice:
    """What `choose` says of distances (V,), and how clearly."""
    index = choose(distances, min_relative_gain)
    others = torch.cat([distances[:index], distances[index + 1 :]])
    others = others[~others.isnan()]
    margin = float(others.min() - distances[index]) if len(others) else float("nan")
    return Choice(index, margin)


def _readings(maps: Tensor, variant: Variant) -> Tensor:
    """Where each cell of the turned maps (..., h, w) is read in the mirrored one, (1, h, w, 2)."""
    cells = identity_grid(*maps.shape[-2:], device=maps.device)
    return _turned(cells, -variant.degrees).unsqueeze(0)


def _mirrored(points: Tensor) -> Tensor:
    return points * points.new_tensor([-1.0, 1.0])


def _turned(points: Tensor, degrees: int) -> Tensor:
    """Counter-clockwise as seen, y pointing down; quarter turns without rounding."""
    if degrees % _QUARTER == 0:
        c, s = [(1, 0), (0, 1), (-1, 0), (0, -1)][degrees // _QUARTER % 4]
        cosine, sine = float(c), float(s)
    else:
        cosine, sine = cos(radians(degrees)), sin(radians(degrees))
    x, y = points.unbind(dim=-1)
    return torch.stack([cosine * x + sine * y, cosine * y - sine * x], dim=-1)
