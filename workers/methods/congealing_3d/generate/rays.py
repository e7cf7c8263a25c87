"""Rays of pictures, and where samples lie on them."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from workers.geometry.cameras import Cameras
from workers.methods.congealing_3d.generate.field import HALF_SIDE
from workers.rendering.rasteriser import pixel_centres

SAMPLES = 512
"""Of a ray along the cube's diagonal."""
_TINY = 1e-9
# As in the published code, where it stands for the square root of 3.
_DIAGONAL = 1.732 * 2


@dataclass(frozen=True)
class Rays:
    """R rays.

    Attributes:
        origins: (R, 3) in the canonical frame.
        directions: (R, 3) unit.
        axial: (R,) length along the camera's axis of a unit of a ray.
    """

    origins: Tensor
    directions: Tensor
    axial: Tensor

    def __len__(self) -> int:
        """Count the rays."""
        return len(self.origins)

    def __getitem__(self, rows: slice) -> Rays:
        """Some of the rays."""
        return Rays(self.origins[rows], self.directions[rows], self.axial[rows])


def step_length(samples: int) -> float:
    """Distance of neighbouring samples, in half sides of the cube."""
    return _DIAGONAL / samples


def rays_of(cameras: Cameras, size: int) -> Rays:
    """Rays (V S S,) through the pixels' centres of square pictures, view by view and row by row."""
    central = cameras.focal.new_tensor([0.0, 0.0, 1.0]).expand(len(cameras), 3)
    centres = pixel_centres(central, size).flatten(1, 2)
    planar = centres / cameras.focal[:, None, None]
    seen = torch.cat([planar, torch.ones_like(planar[..., :1])], dim=-1)
    length = seen.norm(dim=-1, keepdim=True)
    directions = (seen / length) @ cameras.rotation
    origins = cameras.centres[:, None].expand_as(directions)
    return Rays(origins.reshape(-1, 3), directions.reshape(-1, 3), (1 / length).flatten())


def sample_places(rays: Rays, shifts: Tensor, samples: int) -> tuple[Tensor, Tensor]:
    """Distances (R, K) from the origin of all samples of a ray, and which of them (R, K) lie in the cube.

    Args:
        rays: R of them.
        shifts: (R,) in [0, 1), where the samples lie in their intervals.
        samples: of a ray along the cube's diagonal.
    """
    nearest, farthest = crossings(rays, rays.origins.new_tensor([[-HALF_SIDE] * 3, [HALF_SIDE] * 3]))
    step = step_length(samples) * HALF_SIDE
    most = math.ceil(math.sqrt(3) * 2 / step_length(samples)) + 1
    order = torch.arange(most, device=shifts.device)
    distance = nearest[:, None] + (order + shifts[:, None]) * step
    return distance, distance < farthest[:, None]


def crossings(rays: Rays, box: Tensor) -> tuple[Tensor, Tensor]:
    """Distances (R,) at which rays enter and leave a box (2, 3); leaving before entering means they miss it."""
    slope = torch.where(rays.directions.abs() < _TINY, _TINY, rays.directions)
    first = (box[0] - rays.origins) / slope
    second = (box[1] - rays.origins) / slope
    enters = torch.minimum(first, second).amax(dim=-1).clamp_min(0)
    return enters, torch.maximum(first, second).amin(dim=-1)
