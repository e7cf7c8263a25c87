"""Crops of photographs described as the views of the shape are."""

from __future__ import annotations

import torch
from torch.nn.functional import adaptive_avg_pool2d

from workers.backbones.base import Backbone, Tick
from workers.matching.projection import Projection
from workers.methods.congealing_3d.pose.bank import DescribeOptions
from workers.methods.congealing_3d.pose.observation import Observations
from workers.methods.congealing_3d.scene import Scene, pooled
from workers.methods.features import describe

MASK_CELLS = 64


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
    parts = []
    for picture in scene.crops.pictures:
        described = describe(backbone, picture.unsqueeze(0).to(device), cells=options.cells, tick=tick)
        parts.append(projection(described))
        tick()
    features = torch.cat(parts)
    masks = scene.crops.masks
    if masks is not None:
        masks = masks.to(device)
        features = features * (adaptive_avg_pool2d(masks, options.cells) > 0)
    return Observations(scene.crops.windows.to(device), features, pooled(masks, MASK_CELLS), scene.aspects.to(device))
