"""Crops of photographs described as the views of the shape are."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor
from torch.nn.functional import adaptive_avg_pool2d

from workers.backbones.base import Backbone, Tick
from workers.matching.projection import Projection
from workers.methods.congealing_3d.pose.bank import DescribeOptions
from workers.methods.congealing_3d.pose.observation import Observations
from workers.methods.congealing_3d.scene import Scene, pooled
from workers.methods.features import describe

MASK_CELLS = 64
_OWN_SHARE = 0.5
"""Photographs differ from views in all cells alike: half of that is taken for the look of the picture and removed."""


def observe(
    scene: Scene,
    backbone: Backbone,
    projection: Projection,
    options: DescribeOptions,
    *,
    device: torch.device,
    tick: Tick,
) -> Observations:
    """Describe the crops of the images shown, one at a time."""
    masks = None if scene.crops.masks is None else scene.crops.masks.to(device)
    everything = torch.ones(len(scene.shown), 1, options.cells, options.cells, device=device)
    shares = everything if masks is None else adaptive_avg_pool2d(masks, options.cells)
    parts = []
    for picture, share in zip(scene.crops.pictures, shares, strict=True):
        described = describe(backbone, picture.unsqueeze(0).to(device), cells=options.cells, tick=tick)
        parts.append(_centred(projection, described, share)(described) * (share > 0))
        tick()
    return Observations(
        scene.crops.windows.to(device),
        torch.cat(parts),
        pooled(masks, MASK_CELLS),
        scene.aspects.to(device),
        scene.is_tight.to(device),
    )


def _centred(projection: Projection, features: Tensor, share: Tensor) -> Projection:
    """The projection about a mean between its own and that of features (1, C, g, g) by their shares (1, g, g)."""
    mean = (features[0] * share).sum(dim=(1, 2)) / share.sum().clamp_min(1e-6)
    return replace(projection, mean=torch.lerp(projection.mean, mean, _OWN_SHARE))
