"""Poses solved from matches between images and candidates, as further hypotheses."""

from __future__ import annotations

import torch
from torch import Tensor

from workers.backbones.base import Tick, no_tick
from workers.geometry.cameras import Cameras, joined
from workers.methods.congealing_3d.pose.bank import Bank
from workers.methods.congealing_3d.pose.correspondences import mutual_correspondences
from workers.methods.congealing_3d.pose.observation import Observations
from workers.methods.congealing_3d.pose.perspective import fit_cameras
from workers.methods.congealing_3d.pose.placement import in_pictures
from workers.rendering.rasteriser import interpolate, rasterise
from workers.rendering.surface import Surface


def solved_poses(
    observations: Observations, bank: Bank, surface: Surface, candidates: Tensor, *, seed: int, tick: Tick = no_tick
) -> tuple[Cameras, Tensor]:
    """Fit a camera to what an image and a candidate's view have in common.

    Args:
        observations: N images.
        bank: the candidates.
        surface: what their views show.
        candidates: (N, T), which candidates each image is compared with.
        seed: of what RANSAC draws.
        tick: shows life.

    Returns:
        Cameras of the pairs of which enough matches agree, and (V,), which image each is of.
    """
    count, tries = candidates.shape
    images = torch.arange(count, device=candidates.device).repeat_interleave(tries)
    chosen = candidates.flatten()
    cameras, windows = bank.grid.cameras[chosen], bank.windows[chosen]
    fragments = rasterise(surface.vertices, surface.faces, cameras, windows, bank.features.shape[-1])
    places = interpolate(fragments, surface.faces, surface.vertices)
    # A cell whose centre misses the shape has features but no place.
    features = bank.features[chosen] * fragments.mask.unsqueeze(1)
    matches = mutual_correspondences(observations, images, features, places, tick=tick)
    focal = in_pictures(cameras, windows, observations.aspect[images])[0].focal
    fits = fit_cameras(matches, observations.windows[images, 2], focal, seed=seed)
    tick()
    found = [(row, fit) for row, fit in enumerate(fits) if fit is not None]
    if not found:
        return cameras[:0], images[:0]
    rows = torch.tensor([row for row, _ in found], device=images.device)
    return joined([fit.camera for _, fit in found]).to(images.device), images[rows]
