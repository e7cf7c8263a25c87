"""Candidate poses: cameras on a grid around the shape."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from workers.geometry.cameras import Cameras, looking_at_origin
from workers.rendering.surface import Surface

FOVS_DEG = (15.0, 37.5, 60.0)
RADIUS = 0.625
"""Half of the picture's height in canonical units at the origin's depth; a shape reaches 0.5 far from the origin."""
MARGIN = 1.02
"""Side of a crop over that of the tight square around the object."""


@dataclass(frozen=True)
class GridOptions:
    """Which cameras are tried.

    Attributes:
        azimuths: steps around the shape.
        elevations: steps from below to above.
        elevation_range_deg: lowest and highest elevation.
        fovs_deg: vertical fields of view.
        rolls_deg: turns about the camera's axis.
        spacing: `cells` tries the middles of equal cells of elevation, and no azimuth twice; `inclusive` begins and
            ends at the ranges' ends, as the paper's text can be read (the first azimuth is then the last again).
    """

    azimuths: int = 16
    elevations: int = 16
    elevation_range_deg: tuple[float, float] = (-90.0, 90.0)
    fovs_deg: tuple[float, ...] = FOVS_DEG
    rolls_deg: tuple[float, ...] = (0.0,)
    spacing: Literal["cells", "inclusive"] = "cells"


@dataclass(frozen=True)
class PoseGrid:
    """K candidates, all looking at the origin, in the order field of view, azimuth, elevation, roll.

    Attributes:
        cameras: K of them, as far away that the shape fills the picture.
        angles_deg: (K, 4), azimuth, elevation, vertical field of view, roll.
    """

    cameras: Cameras
    angles_deg: Tensor

    def to(self, device: torch.device | str) -> PoseGrid:
        """The same on a device."""
        return PoseGrid(self.cameras.to(device), self.angles_deg.to(device))


def pose_grid(options: GridOptions) -> PoseGrid:
    """Lay out the candidates (3D Congealing, arXiv 2404.02125: 3 x 16 x 16 of them)."""
    low, high = options.elevation_range_deg
    if options.spacing == "inclusive":
        azimuths = torch.linspace(-180, 180, options.azimuths)
        elevations = torch.linspace(low, high, options.elevations)
    else:
        azimuths = -180 + 360 / options.azimuths * torch.arange(options.azimuths)
        elevations = low + (high - low) / options.elevations * (torch.arange(options.elevations) + 0.5)
    fov, azimuth, elevation, roll = (
        axis.flatten()
        for axis in torch.meshgrid(
            torch.tensor(options.fovs_deg), azimuths, elevations, torch.tensor(options.rolls_deg), indexing="ij"
        )
    )
    distance = RADIUS / torch.tan(torch.deg2rad(fov) / 2)
    cameras = looking_at_origin(azimuth, elevation, distance, fov, roll)
    return PoseGrid(cameras, torch.stack([azimuth, elevation, fov, roll], dim=1))


def tight_windows(surface: Surface, cameras: Cameras, *, margin: float = MARGIN) -> Tensor:
    """Square windows (V, 3) around all vertices as the cameras see them: centre x, y and half the side."""
    parts = []
    for start in range(0, len(cameras), 64):
        points, _ = cameras[start : start + 64].project(surface.vertices)
        low, high = points.amin(dim=1), points.amax(dim=1)
        half = (high - low).amax(dim=1, keepdim=True) / 2 * margin
        parts.append(torch.cat([(low + high) / 2, half], dim=1))
    return torch.cat(parts)
