"""A toy animal of ellipsoids, drawn by its points, whose features tell each place of its surface (spec's oracle)."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cache

import torch
from torch import Tensor
from torch.nn.functional import avg_pool2d, normalize

from workers.geometry.cameras import Cameras, looking_at_origin

PIXELS = 128
CELLS = 32
_POINTS = 24_000
_RADIUS = 0.4
_PARTS = {
    "body": ((0.0, 0.0, 0.0), (0.5, 0.24, 0.22)),
    "head": ((0.55, 0.28, 0.0), (0.2, 0.17, 0.15)),
    "tail": ((-0.6, 0.1, 0.0), (0.2, 0.06, 0.06)),
    "front left": ((0.3, -0.35, 0.14), (0.08, 0.28, 0.08)),
    "front right": ((0.3, -0.35, -0.14), (0.08, 0.28, 0.08)),
    "hind left": ((-0.33, -0.35, 0.14), (0.08, 0.28, 0.08)),
    "hind right": ((-0.33, -0.35, -0.14), (0.08, 0.28, 0.08)),
}


@dataclass(frozen=True)
class Drawn:
    """V pictures of S x S pixels.

    Attributes:
        places: (V, 3, S, S) canonical places, 0 where nothing.
        mask: (V, 1, S, S).
    """

    places: Tensor
    mask: Tensor

    def features(self, noise: float = 0.0, seed: int = 0) -> tuple[Tensor, Tensor]:
        """Features (V, 64, g, g), with noise of the given norm, 0 off the object, and masks (V, 1, g, g)."""
        block = PIXELS // CELLS
        codes = oracle(self.places.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)
        mask = avg_pool2d(self.mask, block)
        features = normalize(avg_pool2d(codes * self.mask, block), dim=1)
        drawn = torch.randn(features.shape, generator=torch.Generator().manual_seed(seed))
        return (features + noise * normalize(drawn, dim=1)) * (mask > 0), mask


def oracle(places: Tensor) -> Tensor:
    """Unit codes (..., 64) of places (..., 3)."""
    waves = places @ (6 * torch.randn(3, 32, generator=torch.Generator().manual_seed(7)))
    return torch.cat([waves.cos(), waves.sin()], dim=-1) / math.sqrt(32)


@cache
def canonical_points() -> Tensor:
    """(M, 3), the farthest at radius 0.4 from the centre of the box."""
    points = torch.cat([_ellipsoid(*part) for part in _PARTS.values()])
    centred = points - (points.amax(dim=0) + points.amin(dim=0)) / 2
    return _RADIUS * centred / centred.norm(dim=1).max()


def instance_points(seed: int) -> Tensor:
    """The same points (M, 3) of another animal: longer legs, a bigger head, a bent body, by how much is drawn."""
    legs, head, bend = torch.rand(3, generator=torch.Generator().manual_seed(seed)).tolist()
    x, y, z = canonical_points().unbind(dim=1)
    grown = (0.2 + 0.4 * head) * ((x - 0.12) / 0.2).clamp(0, 1)
    y = y - (0.3 + 0.5 * legs) * (-0.08 - y).clamp_min(0)
    x, y, z = x + grown * (x - 0.22), y + grown * (y - 0.12), z * (1 + grown)
    return torch.stack([x, y - (0.3 + 0.8 * bend) * x**2, z + 1.5 * (bend - 0.5) * x**2], dim=1)


def cameras(count: int, seed: int = 0) -> Cameras:
    """Random views from elevations of -5 to 40 degrees."""
    draws = torch.rand(2, count, generator=torch.Generator().manual_seed(seed))
    azimuth, elevation = 360 * draws[0], -5 + 45 * draws[1]
    return looking_at_origin(azimuth, elevation, torch.full((count,), 2.2), torch.full((count,), 28.0))


def windows_around(points: Tensor, seen: Cameras, margin: float = 1.1) -> Tensor:
    """The square parts of the pictures, (V, 3), that hold all of points (V, M, 3)."""
    at = seen.project(points)[0]
    low, high = at.amin(dim=1), at.amax(dim=1)
    return torch.cat([(low + high) / 2, margin * (high - low).amax(dim=1, keepdim=True) / 2], dim=1)


def draw(points: Tensor, seen: Cameras, windows: Tensor | None = None) -> Drawn:
    """Draw points (M, 3) of an instance, or (V, M, 3), each with its canonical place."""
    at, depth = seen.project(points)
    if windows is not None:
        at = (at - windows[:, None, :2]) / windows[:, None, 2:]
    pixel = ((at + 1) / 2 * PIXELS).floor().long()
    inside = ((pixel >= 0) & (pixel < PIXELS)).all(dim=-1)
    cell = torch.where(inside, pixel[..., 1] * PIXELS + pixel[..., 0], PIXELS**2)
    nearest = torch.full((len(seen), PIXELS**2 + 1), torch.inf).scatter_reduce(1, cell, depth, "amin")
    front = depth == nearest.gather(1, cell)
    places = torch.zeros(len(seen), PIXELS**2 + 1, 3)
    view, row = front.nonzero(as_tuple=True)
    places[view, cell[view, row]] = canonical_points()[row]
    shape = (len(seen), PIXELS, PIXELS)
    mask = nearest[:, :-1].isfinite().float().view(shape).unsqueeze(1)
    return Drawn(places[:, :-1].reshape(*shape, 3).permute(0, 3, 1, 2) * mask, mask)


def _ellipsoid(centre: tuple[float, float, float], radii: tuple[float, float, float]) -> Tensor:
    index = torch.arange(_POINTS, dtype=torch.float64)
    z, angle = 1 - (2 * index + 1) / _POINTS, math.pi * (3 - math.sqrt(5)) * index
    ring = (1 - z**2).sqrt()
    sphere = torch.stack([ring * angle.cos(), ring * angle.sin(), z], dim=1)
    return (torch.tensor(centre) + sphere * torch.tensor(radii)).float()
