"""Random thin-plate-spline warps, as kornia draws and applies them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor
from torch.nn.functional import grid_sample

from workers.geometry.coordinates import identity_grid
from workers.methods.asic.network.canonical import identity

ANCHORS = ((-1.0, -1.0), (-1.0, 1.0), (1.0, -1.0), (1.0, 1.0), (0.0, 0.0))
_NEVER_ZERO = 1e-8

Convention = Literal["consistent", "mixed"]
"""`consistent`: grid and sampler take the pixels' centres alike, as current kornia does. `mixed`: the grid runs from
corner to corner and the sampler does not, as in kornia 0.7, which the official code used."""


@dataclass(frozen=True)
class SplineWarp:
    """Warps f of N pictures, which show at x what was at f(x).

    Attributes:
        kernel: (N, 5, 2), weights of the kernels round the anchors.
        affine: (N, 3, 2), for 1, x and y.
    """

    kernel: Tensor
    affine: Tensor

    def at(self, points: Tensor) -> Tensor:
        """f of points (N, P, 2)."""
        anchors = points.new_tensor(ANCHORS).expand(len(points), -1, -1)
        return _kernel(points, anchors) @ self.kernel + _with_one(points) @ self.affine

    def __call__(self, maps: Tensor, *, convention: Convention = "consistent") -> Tensor:
        """Warp maps (N, C, S, S); zeros come in from outside."""
        size = maps.shape[-1]
        grid = identity_grid(size, size, device=maps.device) if convention == "consistent" else identity(size)
        places = self.at(grid.to(maps).view(1, -1, 2).expand(len(maps), -1, -1))
        return grid_sample(maps, places.view(len(maps), size, size, 2), padding_mode="zeros", align_corners=False)


def spline_warp(shifts: Tensor) -> SplineWarp:
    """The warps that take the anchors' contents by `shifts` (N, 5, 2) to other places."""
    anchors = shifts.new_tensor(ANCHORS).expand(len(shifts), -1, -1)
    ends = anchors + shifts
    corner = shifts.new_zeros(len(shifts), 3, 3)
    upper = torch.cat([_kernel(ends, anchors), _with_one(ends)], dim=2)
    lower = torch.cat([_with_one(ends).mT, corner], dim=2)
    wanted = torch.cat([anchors, shifts.new_zeros(len(shifts), 3, 2)], dim=1)
    found = torch.linalg.solve(torch.cat([upper, lower], dim=1), wanted)
    return SplineWarp(found[:, :5], found[:, 5:])


def random_shifts(count: int, scale: float, generator: torch.Generator) -> Tensor:
    """Shifts (count, 5, 2) in [-scale, scale]."""
    return (2 * torch.rand(count, len(ANCHORS), 2, generator=generator) - 1) * scale


def _kernel(points: Tensor, centres: Tensor) -> Tensor:
    """0.5 r^2 ln r^2 (N, P, Q) of points (N, P, 2) and centres (N, Q, 2)."""
    squared = (points.unsqueeze(2) - centres.unsqueeze(1)).square().sum(dim=3)
    return 0.5 * squared * (squared + _NEVER_ZERO).log()


def _with_one(points: Tensor) -> Tensor:
    return torch.cat([torch.ones_like(points[..., :1]), points], dim=2)
