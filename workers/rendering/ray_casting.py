"""The readable reference of the rasteriser: a ray for every pixel, tried against every triangle.

Source: Möller and Trumbore, "Fast, Minimum Storage Ray/Triangle Intersection", 1997.
"""

from __future__ import annotations

import torch
from torch import Tensor

from workers.geometry.cameras import Cameras
from workers.rendering.rasteriser import Fragments, pixel_centres

_PARALLEL = 1e-12


def cast_rays(vertices: Tensor, faces: Tensor, cameras: Cameras, windows: Tensor, size: int) -> Fragments:
    """Draw a mesh; arguments and result are those of `workers.rendering.rasteriser.rasterise`.

    Takes memory for S^2 x F numbers, and draws triangles that reach behind a camera.
    """
    views = [
        _cast(cameras.see(vertices)[view][faces], float(cameras.focal[view]), places, size)
        for view, places in enumerate(pixel_centres(windows, size))
    ]
    return Fragments(
        torch.stack([view.faces for view in views]),
        torch.stack([view.barycentric for view in views]),
        torch.stack([view.depth for view in views]),
    )


def _cast(corners: Tensor, focal: float, places: Tensor, size: int) -> Fragments:
    """Draw triangles (F, 3, 3) in a camera's axes at picture coordinates (S, S, 2)."""
    rays = torch.cat([places / focal, torch.ones(size, size, 1, dtype=places.dtype)], dim=-1).view(-1, 1, 3)
    edge, other = corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]
    across = torch.linalg.cross(rays, other[None].expand(len(rays), -1, -1))
    determinant = (edge * across).sum(dim=-1)
    inverse = 1 / torch.where(determinant.abs() < _PARALLEL, torch.inf, determinant)
    from_corner = -corners[:, 0]
    second = (from_corner * across).sum(dim=-1) * inverse
    turned = torch.linalg.cross(from_corner, edge)
    third = (rays * turned).sum(dim=-1) * inverse
    depth = (other * turned).sum(dim=-1) * inverse
    is_hit = (second >= 0) & (third >= 0) & (second + third <= 1) & (depth > 0) & (determinant.abs() >= _PARALLEL)
    nearest, face = torch.where(is_hit, depth, torch.inf).min(dim=1)
    hit = torch.isfinite(nearest)
    pixels = torch.arange(len(face))
    weights = torch.stack([1 - second - third, second, third], dim=-1)[pixels, face]
    return Fragments(
        torch.where(hit, face, -1).view(size, size),
        (weights * hit[:, None]).view(size, size, 3),
        torch.where(hit, nearest, 0).view(size, size),
    )
