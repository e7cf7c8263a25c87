"""Features carried from pictures onto points of the surface."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import grid_sample, normalize

from workers.geometry.cameras import Cameras
from workers.methods.congealing_3d.pose.bank import Bank
from workers.methods.congealing_3d.pose.observation import SurfaceSamples
from workers.methods.congealing_3d.pose.visibility import visible_points
from workers.rendering.surface import Surface

_BATCH = 32
_VIEWS = 96


def read_at(features: Tensor, windows: Tensor, places: Tensor) -> Tensor:
    """Read features of crops at places of the pictures.

    Args:
        features: (V, C, g, g) of the crops.
        windows: (V, 3) of the crops.
        places: (V, P, 2) in picture coordinates.

    Returns:
        (V, P, C), bilinear; 0 outside the crops.
    """
    inside = (places - windows[:, None, :2]) / windows[:, None, 2:]
    found = grid_sample(features, inside.unsqueeze(1), padding_mode="zeros", align_corners=False)
    return found.squeeze(2).transpose(1, 2)


def seen_features(
    features: Tensor, windows: Tensor, cameras: Cameras, samples: SurfaceSamples
) -> tuple[Tensor, Tensor]:
    """What V pictures show at P points of the surface.

    Returns:
        Unit features (V, P, C), 0 where a point is not seen, and (V, P) bool, whether it is.
    """
    places, _ = cameras.project(samples.points)
    found = read_at(features, windows, places)
    visible = visible_points(samples, cameras) & (found.square().sum(dim=-1) > 0)
    return normalize(found, dim=-1) * visible.unsqueeze(-1), visible


def sampled_surface(surface: Surface, bank: Bank, *, count: int, seed: int) -> SurfaceSamples:
    """Points spread over the surface, with the mean of the features that the candidates' views show there."""
    points, normals = surface.samples(count, seed=seed)
    channels = bank.features.shape[1]
    samples = SurfaceSamples(points, normals, points.new_zeros(count, channels))
    total = samples.features.clone()
    spread = torch.linspace(0, len(bank) - 1, min(_VIEWS, len(bank))).long()
    for rows in torch.split(spread, _BATCH):
        found, _ = seen_features(bank.features[rows], bank.windows[rows], bank.grid.cameras[rows], samples)
        total += found.sum(dim=0)
    return SurfaceSamples(points, normals, normalize(total, dim=1))
