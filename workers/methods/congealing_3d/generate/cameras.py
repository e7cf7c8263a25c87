"""Cameras drawn for a step of distillation, in groups of views a quarter of a turn apart (arXiv 2308.16512)."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from workers.geometry.cameras import Cameras, looking_at_origin
from workers.methods.congealing_3d.generate.field import HALF_SIDE
from workers.methods.congealing_3d.generate.schedule import VIEWS

_HIGHEST_DEG = 30.0
_FOV_DEG = (15.0, 60.0)
_DISTANCE = (0.8, 1.0)
_UNIFORM_SHARE = 0.5


@dataclass(frozen=True)
class DrawnViews:
    """V cameras of G groups, those of a group side by side.

    Attributes:
        cameras: in the canonical frame.
        azimuth_deg: (V,) in [-180, 180).
        elevation_deg: (V,) in [0, 30], one for each group.
        fov_deg: (V,) in [15, 60], one for each group.
        distance: (V,) from the origin, in canonical units, one for each group.
    """

    cameras: Cameras
    azimuth_deg: Tensor
    elevation_deg: Tensor
    fov_deg: Tensor
    distance: Tensor


def draw_views(groups: int, generator: torch.Generator) -> DrawnViews:
    """Draw groups of cameras that look at the origin; on the CPU."""
    turn, height, is_uniform, fov, nearness = torch.rand(5, groups, generator=generator)
    azimuth = (turn[:, None] + torch.arange(VIEWS)) / VIEWS * 360 - 180
    along_angle = height * _HIGHEST_DEG
    along_zone = torch.rad2deg(torch.asin(height * torch.sin(torch.deg2rad(torch.tensor(_HIGHEST_DEG)))))
    elevation = torch.where(is_uniform < _UNIFORM_SHARE, along_angle, along_zone)
    fov = _FOV_DEG[0] + fov * (_FOV_DEG[1] - _FOV_DEG[0])
    away = _DISTANCE[0] + nearness * (_DISTANCE[1] - _DISTANCE[0])
    distance = HALF_SIDE * away / torch.tan(torch.deg2rad(fov) / 2)
    elevation, fov, distance = (each.repeat_interleave(VIEWS) for each in (elevation, fov, distance))
    cameras = looking_at_origin(azimuth.flatten(), elevation, distance, fov)
    return DrawnViews(cameras, azimuth.flatten(), elevation, fov, distance)


def ring(count: int, *, elevation_deg: float, fov_deg: float = 40.0, distance: float = 1.5) -> Cameras:
    """Cameras evenly around the object, all at one height, that look at the origin from `distance`."""
    azimuth = torch.arange(count, dtype=torch.float32) * (360 / count)
    same = torch.ones(count)
    return looking_at_origin(azimuth, elevation_deg * same, distance * same, fov_deg * same)
