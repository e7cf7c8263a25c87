"""Deformed animals before the canonical one's renders from the true cameras, and how far maps are off."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import interpolate

from tests.workers.methods.congealing_3d.maps import toy
from workers.geometry.cameras import Cameras
from workers.methods.congealing_3d.maps.forward import forward_map
from workers.methods.congealing_3d.maps.warp import Warps

NOISE = 0.24
WHOLE = torch.tensor([0.0, 0.0, 1.0])


@dataclass(frozen=True)
class Scene:
    """V instances and their renders through the same windows; features with noise of norm 0.24."""

    cameras: Cameras
    windows: Tensor
    instances: Tensor
    real: toy.Drawn
    render: toy.Drawn
    features: Tensor
    mask: Tensor
    rendered: Tensor
    rendered_mask: Tensor

    def hit(self, index: int) -> Tensor:
        return self.render.mask[index] > 0


def scene(count: int, seed: int = 1) -> Scene:
    seen = toy.cameras(count, seed)
    instances = torch.stack([toy.instance_points(100 * seed + number) for number in range(count)])
    canonical = toy.canonical_points().expand(count, -1, -1)
    windows = toy.windows_around(torch.cat([canonical, instances], dim=1), seen)
    real, render = toy.draw(instances, seen, windows), toy.draw(canonical, seen, windows)
    return Scene(seen, windows, instances, real, render, *real.features(NOISE, seed), *render.features())


def errors(drawn: Scene, warps: Warps) -> Tensor:
    """Distances (V, S, S) of what forward maps say of each pixel from the truth; NaN where either is unknown."""
    found = []
    for index in range(len(warps.displacement)):
        mapped = forward_map(
            warps[index],
            drawn.render.places[index],
            drawn.hit(index),
            WHOLE,
            aspect=1.0,
            rows=toy.PIXELS,
            columns=toy.PIXELS,
            image_mask=drawn.real.mask[index, 0],
        )
        found.append((mapped.coordinates - drawn.real.places[index].permute(1, 2, 0)).norm(dim=-1))
    return torch.stack(found)


def as_warps(displacement: Tensor, mask: Tensor) -> Warps:
    """Displacements (N, 2, G, G) of any kind, as if all cosines were 1."""
    nodes = interpolate(mask, displacement.shape[2:], mode="bilinear")
    return Warps(displacement, torch.ones_like(nodes), nodes)
