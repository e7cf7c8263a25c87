"""The order in which images come to shape an atlas that grows: nearest first."""

from __future__ import annotations

import torch
from torch import Tensor

from workers.methods.neural_congealing.network.objective import AtlasView, Seen, image_distances
from workers.methods.neural_congealing.network.options import LossWeights


def first_image(keys: Tensor, masks: Tensor, atlas_keys: Tensor, weights: LossWeights) -> Tensor:
    """The image (N,) bool whose keys (N, C, R, R), within its mask (N, 1, R, R), are nearest to the atlas as is."""
    everywhere = torch.ones_like(atlas_keys[0])
    distances = [
        image_distances(AtlasView(atlas_keys, everywhere), Seen(own[None], mask, mask), weights)
        for own, mask in zip(keys, masks, strict=True)
    ]
    included = torch.zeros(len(keys), dtype=torch.bool, device=keys.device)
    included[torch.cat(distances).argmin()] = True
    return included


def with_nearest(included: Tensor, distances: Tensor) -> Tensor:
    """Include (N,) bool the one of the other images with the least distance (N,) to the atlas."""
    nearest = torch.where(included, torch.inf, distances).argmin()
    grown = included.clone()
    grown[nearest] = True
    return grown
