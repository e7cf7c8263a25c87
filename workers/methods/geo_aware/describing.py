"""What describes the cells of pictures: a backbone, as it is or through a trained adapter."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import adaptive_avg_pool2d, interpolate, normalize

from workers.backbones.base import Backbone, Tick, no_tick
from workers.backbones.cache import FeatureCache, blocks_cached, extract_cached
from workers.methods.geo_aware_adapter.network import Adapter


@dataclass(frozen=True)
class Describer:
    """Describes frames by unit vectors on a grid.

    Attributes:
        backbone: what reads pictures.
        cells: a side of the grid.
        adapter: makes the backbone's blocks geometry-aware; None takes its features as they are.
        cache: of what the backbone said before.
    """

    backbone: Backbone
    cells: int
    adapter: Adapter | None = None
    cache: FeatureCache | None = None

    @torch.no_grad()
    def __call__(self, pictures: Tensor, *, tick: Tick = no_tick) -> tuple[Tensor, int]:
        """Features (M, D, cells, cells) of frames (M, 3, S, S) in [0, 1], and how many were read before."""
        if self.adapter is not None:
            blocks, known = blocks_cached(self.backbone, pictures, self.cache, tick=tick)
            tick()
            return self.adapter.describe(blocks, self.cells), known
        features, known = extract_cached(self.backbone, pictures, self.cache, tick=tick)
        return normalize(_on_grid(features, self.cells), dim=1), known


def _on_grid(features: Tensor, cells: int) -> Tensor:
    if features.shape[-1] > cells:
        return adaptive_avg_pool2d(features, cells)
    if features.shape[-1] < cells:
        return interpolate(features, (cells, cells), mode="bilinear", align_corners=False)
    return features
