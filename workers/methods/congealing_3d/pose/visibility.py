"""Which points of the surface a camera sees."""

from __future__ import annotations

import torch
from torch import Tensor

from workers.geometry.cameras import Cameras
from workers.methods.congealing_3d.pose.observation import SurfaceSamples

_CELLS = 28
_BEHIND = 0.05
_GRAZING = 0.1


def visible_points(samples: SurfaceSamples, cameras: Cameras) -> Tensor:
    """Tell which of P samples V cameras see, (V, P) bool: they face the camera and none lies well before them.

    The samples themselves hide each other: the nearest in each cell of a coarse grid over the object, so that what is
    just behind a silhouette's border may count as visible.
    """
    seen = cameras.see(samples.points)
    normals = samples.normals @ cameras.rotation.transpose(1, 2)
    facing = -(normals * seen).sum(dim=-1) / seen.norm(dim=-1).clamp_min(1e-9)
    depth = seen[..., 2]
    cell = _cells(seen)
    nearest = torch.full((len(cameras), _CELLS**2), torch.inf, device=depth.device, dtype=depth.dtype)
    nearest.scatter_reduce_(1, cell, depth, reduce="amin")
    visible: Tensor = (facing > _GRAZING) & (depth > 0) & (depth < nearest.gather(1, cell) + _BEHIND)
    return visible


def _cells(seen: Tensor) -> Tensor:
    """Numbers (V, P) of the cells of each view's own grid, which just covers the points (V, P, 3)."""
    places = seen[..., :2] / seen[..., 2:].clamp_min(1e-6)
    low, high = places.amin(dim=1, keepdim=True), places.amax(dim=1, keepdim=True)
    side = (high - low).amax(dim=2, keepdim=True).clamp_min(1e-9)
    column, row = ((places - low) / side * _CELLS).long().clamp(0, _CELLS - 1).unbind(dim=-1)
    return row * _CELLS + column
