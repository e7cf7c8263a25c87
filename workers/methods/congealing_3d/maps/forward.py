"""From the cells of an image to canonical places, through its warp and its render."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from workers.geometry.coordinates import identity_grid, normalised_to_index, sample
from workers.methods.congealing_3d.maps.warp import Warps

LEAST_WEIGHT = 0.3
"""Share of a place that the render must show for the place to be known."""
JUMP_STEPS = 5.0
"""Neighbours in the render that differ by so many times the usual step lie on different surfaces."""
_SHOWN = 0.5


@dataclass(frozen=True)
class ForwardMap:
    """What h x w equal cells that cover an image see.

    Attributes:
        coordinates: (h, w, 3) canonical places; NaN off the object.
        confidence: (h, w) in [0, 1]; 0 off the object.
    """

    coordinates: Tensor
    confidence: Tensor


@torch.no_grad()
def forward_map(
    warp: Warps,
    coordinates: Tensor,
    hit: Tensor,
    window: Tensor,
    *,
    aspect: float,
    rows: int,
    columns: int,
    image_mask: Tensor | None = None,
) -> ForwardMap:
    """Carry the render's canonical places to an image.

    Args:
        warp: of this image alone, within the window.
        coordinates: (3, s, s) of the render through the window, 0 where there is nothing.
        hit: (1, s, s) bool, where the render shows the surface.
        window: (3,) centre and half side in picture coordinates.
        aspect: the image's width by its height.
        rows: cells h over the image's height.
        columns: cells w over its width.
        image_mask: (h, w) in [0, 1], where the image shows the object; what the warp knows of it if None.
    """
    places = window_places(window, aspect=aspect, rows=rows, columns=columns)
    inside = (places.abs() <= 1).all(dim=-1)
    grid = places[None]
    mask = sample(warp.mask, grid)[0, 0]
    cosine = sample(warp.cosine * warp.mask, grid)[0, 0] / mask.clamp_min(1e-6)
    displacement = sample(warp.displacement, grid)[0].permute(1, 2, 0)
    looked_up, weight = look_up(coordinates, hit, places + displacement)
    shown = mask if image_mask is None else image_mask
    valid = inside & (weight >= LEAST_WEIGHT) & (shown >= _SHOWN)
    confidence = (cosine.clamp(0, 1) * weight * shown).clamp(0, 1)
    return ForwardMap(looked_up.masked_fill(~valid.unsqueeze(-1), torch.nan), confidence.masked_fill(~valid, 0.0))


def window_places(window: Tensor, *, aspect: float, rows: int, columns: int) -> Tensor:
    """Where the centres of rows x columns cells that cover an image lie in a window (3,): (rows, columns, 2).

    The window spans [-1, 1]; an image's cells beyond it are outside.
    """
    picture = identity_grid(rows, columns, device=window.device) * window.new_tensor([aspect, 1.0])
    return (picture - window[:2]) / window[2]


def look_up(coordinates: Tensor, hit: Tensor, places: Tensor) -> tuple[Tensor, Tensor]:
    """Read a render's canonical places bilinearly, but never between a surface and another behind it.

    Of the four pixels around a place, those count that show the surface and lie near what the closest of them shows.

    Args:
        coordinates: (3, s, s).
        hit: (1, s, s) bool.
        places: (..., 2) in [-1, 1]; beyond the border as at the border.

    Returns:
        Canonical places (..., 3), and the weight (...) in [0, 1] of the pixels around that show any surface.
    """
    size = coordinates.shape[-1]
    position = normalised_to_index(places, size=size).clamp(0, size - 1)
    first = position.floor().clamp_max(size - 2)
    x, y = (position - first).unbind(dim=-1)
    start = (first[..., 1] * size + first[..., 0]).long()
    index = torch.stack([start, start + 1, start + size, start + size + 1], dim=-1)
    weights = torch.stack([(1 - x) * (1 - y), x * (1 - y), (1 - x) * y, x * y], dim=-1)
    weights = weights * hit.flatten()[index]
    around = coordinates.flatten(1).T[index]
    closest = weights.argmax(dim=-1)[..., None, None].expand(*weights.shape[:-1], 1, 3)
    apart = (around - around.gather(-2, closest)).norm(dim=-1)
    same = weights * (apart <= JUMP_STEPS * usual_step(coordinates, hit))
    value = (same.unsqueeze(-1) * around).sum(dim=-2) / same.sum(dim=-1, keepdim=True).clamp_min(1e-12)
    return value, weights.sum(dim=-1)


def usual_step(coordinates: Tensor, hit: Tensor) -> Tensor:
    """Median distance () between the canonical places (3, s, s) of neighbouring pixels; infinite without any."""
    steps = []
    for axis in (1, 2):
        both = hit[0].narrow(axis - 1, 1, hit.shape[axis] - 1) & hit[0].narrow(axis - 1, 0, hit.shape[axis] - 1)
        steps.append(coordinates.diff(dim=axis).norm(dim=0)[both])
    known = torch.cat(steps)
    return known.median() if len(known) else coordinates.new_tensor(torch.inf)
