"""Pictures of a field by marching along rays: samples that matter, some rays at a time, computed twice to save memory.

`marching_reference` says the same in a few lines; the tests hold one against the other.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from workers.geometry.cameras import Cameras
from workers.methods.congealing_3d.generate.field import Volume
from workers.methods.congealing_3d.generate.occupancy import Occupancy
from workers.methods.congealing_3d.generate.rays import SAMPLES, Rays, crossings, rays_of, sample_places, step_length

RAYS_AT_ONCE = 8192
_FAINTEST_LIGHT = 1e-4
_TINY = 1e-6
_SUMS = 8

Backdrop = Callable[[Tensor], Tensor]
"""Colours (R, 3) of directions (R, 3)."""


@dataclass(frozen=True)
class Marched:
    """V pictures of S x S pixels.

    Attributes:
        rgb: (V, 3, S, S) in [0, 1], over the backdrop.
        opacity: (V, 1, S, S) in [0, 1].
        depth: (V, 1, S, S) expected along the camera's axis; 0 where nothing is.
        coordinates: (V, 3, S, S) expected canonical place; 0 where nothing is.
    """

    rgb: Tensor
    opacity: Tensor
    depth: Tensor
    coordinates: Tensor


@dataclass(frozen=True)
class Marching:
    """How pictures are marched."""

    samples: int = SAMPLES
    """Of a ray along the cube's diagonal."""
    rays_at_once: int = RAYS_AT_ONCE


@dataclass(frozen=True)
class _Samples:
    """P samples of R rays that matter.

    Attributes:
        points: (P, 3).
        depth: (P,) along the camera's axis.
        ray: (P,) number of the ray.
        slot: (P,) number of the sample on its ray.
        slots: the most samples of a ray.
    """

    points: Tensor
    depth: Tensor
    ray: Tensor
    slot: Tensor
    slots: int


def march(
    volume: Volume,
    cameras: Cameras,
    size: int,
    *,
    backdrop: Backdrop,
    shifts: Tensor | None = None,
    occupancy: Occupancy | None = None,
    marching: Marching | None = None,
) -> Marched:
    """Render a field, differentiable in its parameters.

    Args:
        volume: the field.
        cameras: V of them; the central square of their pictures is rendered.
        size: S, pixels a side.
        backdrop: what lies behind.
        shifts: (V S S,) in [0, 1), where each ray's samples lie in their intervals; their middles by default.
        occupancy: where to look; everywhere by default.
        marching: sampling and memory.
    """
    marching = marching or Marching()
    rays = rays_of(cameras, size)
    shifts = torch.full_like(rays.axial, 0.5) if shifts is None else shifts
    sums = [
        _marched(volume, rays[rows], shifts[rows], occupancy, marching)
        for rows in _chunks(len(rays), marching.rays_at_once)
    ]
    return composed(torch.cat(sums), backdrop(rays.directions), views=len(cameras), size=size)


def composed(sums: Tensor, behind: Tensor, *, views: int, size: int) -> Marched:
    """Pictures from each ray's weighted sums (V S S, 8), opacity, colour, depth and place, and colours behind."""
    opacity, colour, depth, place = torch.split(sums, [1, 3, 1, 3], dim=-1)
    rgb = colour + (1 - opacity) * behind
    share = torch.where(opacity > _TINY, opacity, torch.inf)

    def pictures(values: Tensor) -> Tensor:
        return values.view(views, size, size, -1).permute(0, 3, 1, 2)

    return Marched(pictures(rgb), pictures(opacity), pictures(depth / share), pictures(place / share))


def _marched(volume: Volume, rays: Rays, shifts: Tensor, occupancy: Occupancy | None, marching: Marching) -> Tensor:
    """Weighted sums (R, 8) of some rays: 1, colour, depth and place."""
    step = step_length(marching.samples)
    with torch.no_grad():
        samples = _that_matter(volume, rays, shifts, occupancy, marching.samples)
    if not len(samples.points):
        return samples.points.new_zeros(len(rays), _SUMS)
    shade = partial(_sums, volume, samples, len(rays), step)
    if not torch.is_grad_enabled():
        return shade()
    found: Tensor = checkpoint(shade, use_reentrant=False, preserve_rng_state=False)
    return found


def _that_matter(volume: Volume, rays: Rays, shifts: Tensor, occupancy: Occupancy | None, samples: int) -> _Samples:
    """Samples within the cube; where full cells are known, those within them that block light that comes so far."""
    distance, is_inside = sample_places(rays, shifts, samples)
    if occupancy is None:
        return _listed(rays, distance, is_inside)
    enters, leaves = crossings(rays, occupancy.box)
    found = _listed(rays, distance, is_inside & (distance >= enters[:, None]) & (distance <= leaves[:, None]))
    found = _some(found, occupancy.is_full(found.points), len(rays))
    if not len(found.points):
        return found
    blocked = volume.density(found.points) * step_length(samples)
    arriving = _arriving(_in_slots(blocked, found, len(rays)))[found.ray, found.slot]
    is_seen = (1 - torch.exp(-blocked) >= occupancy.threshold) & (arriving >= _FAINTEST_LIGHT)
    return _some(found, is_seen, len(rays))


def _listed(rays: Rays, distance: Tensor, is_kept: Tensor) -> _Samples:
    ray, column = is_kept.nonzero(as_tuple=True)
    along = distance[ray, column]
    points = rays.origins[ray] + along[:, None] * rays.directions[ray]
    return _in_order(points, along * rays.axial[ray], ray, len(rays))


def _some(samples: _Samples, is_kept: Tensor, rays: int) -> _Samples:
    return _in_order(samples.points[is_kept], samples.depth[is_kept], samples.ray[is_kept], rays)


def _in_order(points: Tensor, depth: Tensor, ray: Tensor, rays: int) -> _Samples:
    """Number the samples of each of `rays` rays; they come ray by ray, from near to far."""
    counts = torch.bincount(ray, minlength=rays)
    slot = torch.arange(len(ray), device=ray.device) - (counts.cumsum(0) - counts)[ray]
    return _Samples(points, depth, ray, slot, int(counts.max()))


def _sums(volume: Volume, samples: _Samples, rays: int, step: float) -> Tensor:
    density, colour = volume.shaded(samples.points)
    blocked = _in_slots(density * step, samples, rays)
    weights = (_arriving(blocked) * (1 - torch.exp(-blocked)))[samples.ray, samples.slot, None]
    values = torch.cat([torch.ones_like(weights), colour, samples.depth[:, None], samples.points], dim=-1)
    return weights.new_zeros(rays, values.shape[-1]).index_add(0, samples.ray, weights * values)


def _in_slots(values: Tensor, samples: _Samples, rays: int) -> Tensor:
    """Values (P,) as (R, slots), 0 where a ray has fewer samples."""
    return values.new_zeros(rays, max(1, samples.slots)).index_put((samples.ray, samples.slot), values)


def _arriving(blocked: Tensor) -> Tensor:
    """Share (R, K) of the light that comes through all samples before each one."""
    return torch.exp(blocked - blocked.cumsum(dim=1))


def _chunks(count: int, most: int) -> list[slice]:
    return [slice(start, start + most) for start in range(0, count, most)]
