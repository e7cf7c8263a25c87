"""Small annotated sets of random features."""

import torch
from torch import Tensor

from workers.methods.geo_aware_adapter.data import TrainingSet
from workers.methods.geo_aware_adapter.options import AdapterOptions

CELLS = 8
KEYPOINTS = 5
CHANNELS = (4, 8)
BECOMES = torch.tensor([1, 0, 3, 2, 4])
TINY = AdapterOptions(steps=12, batch_images=3, width=8, hidden=4, groups=2)


def blocks(count: int, generator: torch.Generator) -> tuple[Tensor, ...]:
    grids = (CELLS, CELLS // 2)
    return tuple(torch.randn(count, c, g, g, generator=generator) for c, g in zip(CHANNELS, grids, strict=True))


def random_set(count: int = 6, *, seed: int = 0, mirrored: bool = True, categories: int = 1) -> TrainingSet:
    generator = torch.Generator().manual_seed(seed)
    return TrainingSet(
        blocks=blocks(count, generator),
        mirrored=blocks(count, generator) if mirrored else None,
        cells=CELLS,
        points=CELLS * torch.rand(count, KEYPOINTS, 2, generator=generator),
        visible=torch.rand(count, KEYPOINTS, generator=generator) < 0.8,
        sides=3 + 4 * torch.rand(count, generator=generator),
        becomes=BECOMES.expand(count, -1) if mirrored else None,
        categories=torch.arange(count) % categories,
    )
