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
        blend: share of the adapter in similarities; the rest is that of the features as they are.
        cache: of what the backbone said before.
    """

    backbone: Backbone
    cells: int
    adapter: Adapter | None = None
    blend: float = 1.0
    cache: FeatureCache | None = None

    @torch.no_grad()
    def __call__(self, pictures: Tensor, *, tick: Tick = no_tick) -> tuple[Tensor, int]:
        """Features (M, D, cells, cells) of frames (M, 3, S, S) in [0, 1], and how many were read before."""
        if self.adapter is not None:
            blocks, known = blocks_cached(self.backbone, pictures, self.cache, tick=tick)
            tick()
            return self.adapted(blocks), known
        features, known = extract_cached(self.backbone, pictures, self.cache, tick=tick)
        return normalize(_on_grid(features, self.cells), dim=1), known

    def adapted(self, blocks: tuple[Tensor, ...]) -> Tensor:
        """Unit vectors (M, D, cells, cells) of pictures by their blocks, through the adapter.

        Raises:
            ValueError: there is none.
        """
        if self.adapter is None:
            raise ValueError("these features have no adapter; describe pictures, not blocks")
        learned = self.adapter.describe(blocks, self.cells)
        plain = self.backbone.joined(blocks, (self.cells, self.cells)) if self.blend < 1 else None
        return blended(learned, plain, self.blend)


def blended(learned: Tensor, plain: Tensor | None, share: float) -> Tensor:
    """Unit vectors whose products are share x those of `learned` (M, D, h, w) plus the rest x cosines of `plain`."""
    if plain is None:
        return learned
    return torch.cat([share**0.5 * learned, (1 - share) ** 0.5 * normalize(plain, dim=1)], dim=1)


def _on_grid(features: Tensor, cells: int) -> Tensor:
    if features.shape[-1] > cells:
        return adaptive_avg_pool2d(features, cells)
    if features.shape[-1] < cells:
        return interpolate(features, (cells, cells), mode="bilinear", align_corners=False)
    return features
