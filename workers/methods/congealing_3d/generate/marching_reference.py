"""Pictures of a field, plainly: every sample of every ray; what `marching` must agree with."""

from __future__ import annotations

import torch
from torch import Tensor

from workers.geometry.cameras import Cameras
from workers.methods.congealing_3d.generate.field import Volume
from workers.methods.congealing_3d.generate.marching import Backdrop, Marched, composed
from workers.methods.congealing_3d.generate.rays import SAMPLES, rays_of, sample_places, step_length


def march_reference(
    volume: Volume,
    cameras: Cameras,
    size: int,
    *,
    backdrop: Backdrop,
    shifts: Tensor | None = None,
    samples: int = SAMPLES,
) -> Marched:
    """Render as `marching.march` does, without leaving anything out."""
    rays = rays_of(cameras, size)
    distance, is_inside = sample_places(rays, torch.full_like(rays.axial, 0.5) if shifts is None else shifts, samples)
    points = rays.origins[:, None] + distance[..., None] * rays.directions[:, None]
    density, colour = volume.shaded(points.flatten(0, 1))
    passed = torch.exp(-density.view_as(distance) * is_inside * step_length(samples))
    before = torch.cat([torch.ones_like(passed[:, :1]), passed.cumprod(dim=1)[:, :-1]], dim=1)
    weights = (before * (1 - passed)).unsqueeze(-1)
    depth = (distance * rays.axial[:, None]).unsqueeze(-1)
    values = torch.cat([torch.ones_like(depth), colour.view_as(points), depth, points], dim=-1)
    return composed((weights * values).sum(dim=1), backdrop(rays.directions), views=len(cameras), size=size)
