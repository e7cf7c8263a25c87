"""Animals seen from known cameras, with features that are codes of the places they show."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import avg_pool2d, normalize

from workers.evaluation.procedural_shapes import animal
from workers.geometry.cameras import Cameras, angles_between_deg, exponential, focal_of, looking_at_origin
from workers.methods.congealing_3d.pose.observation import Observations, SurfaceSamples
from workers.rendering.rasteriser import interpolate, rasterise
from workers.rendering.surface import Surface

CELLS = 32
MASK_CELLS = 96
ASPECT = 1.5
CANDIDATES_FOV = (15.0, 37.5, 60.0)


def oracle(points: Tensor) -> Tensor:
    """Unit codes (..., 64) of places (..., 3)."""
    waves = points @ (6 * torch.randn(3, 32, generator=torch.Generator().manual_seed(0)))
    return torch.cat([waves.cos(), waves.sin()], dim=-1) / 32**0.5


def true_cameras(count: int, *, seed: int = 0) -> Cameras:
    generator = torch.Generator().manual_seed(seed)

    def drawn(low: float, high: float) -> Tensor:
        return low + (high - low) * torch.rand(count, generator=generator)

    fov = drawn(20, 55)
    azimuth, elevation = drawn(-180, 180), drawn(-20, 60)
    cameras = looking_at_origin(azimuth, elevation, 0.6 * focal_of(fov) * drawn(0.9, 1.3), fov)
    aside = torch.stack([drawn(-0.1, 0.1), drawn(-0.1, 0.1), torch.zeros(count)], dim=1)
    return Cameras(cameras.rotation, cameras.translation + aside, cameras.focal)


def tight_windows(vertices: Tensor, cameras: Cameras) -> Tensor:
    places, _ = cameras.project(vertices)
    low, high = places.amin(dim=1), places.amax(dim=1)
    return torch.cat([(low + high) / 2, (high - low).amax(dim=1, keepdim=True) / 2 * 1.02], dim=1)


def seen_places(instance: int, cameras: Cameras, windows: Tensor, size: int) -> tuple[Tensor, Tensor]:
    """Places (V, 3, size, size) of the category that pixels show, and where they show any (V, 1, size, size)."""
    shape = animal(instance)
    surface = Surface.of(shape.mesh)
    fragments = rasterise(surface.vertices, surface.faces, cameras, windows, size)
    places = interpolate(fragments, surface.faces, torch.from_numpy(shape.places))
    return places, fragments.mask.unsqueeze(1).float()


def described(instance: int, cameras: Cameras, windows: Tensor, *, noise: float = 0.0) -> Tensor:
    """Features (V, 64, CELLS, CELLS) with noise of that length."""
    places, shown = seen_places(instance, cameras, windows, CELLS)
    codes = oracle(places.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)
    grain = normalize(torch.randn(codes.shape, generator=torch.Generator().manual_seed(instance)), dim=1)
    return normalize(codes + noise * grain, dim=1) * shown


def observed(instances: list[int], cameras: Cameras, *, noise: float = 0.2) -> Observations:
    """What one picture of each animal shows."""
    windows, features, masks = [], [], []
    for row, instance in enumerate(instances):
        camera = cameras[row]
        window = tight_windows(torch.from_numpy(animal(instance).mesh.vertices), camera)
        windows.append(window)
        features.append(described(instance, camera, window, noise=noise))
        masks.append(avg_pool2d(seen_places(instance, camera, window, 2 * MASK_CELLS)[1], 2))
    aspect, is_tight = torch.full((len(instances),), ASPECT), torch.ones(len(instances), dtype=torch.bool)
    return Observations(torch.cat(windows), torch.cat(features), torch.cat(masks), aspect, is_tight)


def surface_samples(count: int = 1200) -> SurfaceSamples:
    points, normals = Surface.of(animal(0).mesh).samples(count, seed=0)
    return SurfaceSamples(points, normals, oracle(points))


def candidates_near(cameras: Cameras, *, low_deg: float = 7, high_deg: float = 12, seed: int = 3) -> Cameras:
    """Cameras turned a little, somewhat off in place and size, and with the nearest of three fields of view."""
    generator = torch.Generator().manual_seed(seed)
    count = len(cameras)
    angle = low_deg + (high_deg - low_deg) * torch.rand(count, 1, generator=generator)
    axis = normalize(torch.randn(count, 3, generator=generator), dim=-1)
    rotation = exponential(axis * torch.deg2rad(angle)) @ cameras.rotation
    candidates = focal_of(torch.tensor(CANDIDATES_FOV))
    focal = candidates[(candidates.log() - cameras.focal[:, None].log()).abs().argmin(dim=1)]
    scale = 1 + 0.05 * torch.randn(count, generator=generator)
    depth = cameras.translation[:, 2] * scale * focal / cameras.focal
    aside = cameras.translation[:, :2] * scale[:, None] + 0.02 * torch.randn(count, 2, generator=generator)
    return Cameras(rotation, torch.cat([aside, depth[:, None]], dim=1), focal)


def errors_deg(found: Cameras, true: Cameras) -> Tensor:
    return angles_between_deg(found.rotation, true.rotation)
