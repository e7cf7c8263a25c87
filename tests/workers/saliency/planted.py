"""A set with a known object: two parts on backgrounds that differ from image to image."""

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import avg_pool2d, interpolate

CELLS, PIXELS, DIM = 32, 4, 16


@dataclass(frozen=True)
class Planted:
    """Attributes: features (N, 16, 32, 32); prior (N, 1, 16, 16); images (N, 3, 128, 128); truth (N, 1, 32, 32)."""

    features: Tensor
    prior: Tensor
    images: Tensor
    truth: Tensor


def planted(count: int = 4, *, seed: int = 0, noise: float = 0.04, absent: int | None = None) -> Planted:
    """Draw a disc of two parts at another place in each image; the prior sees one part better, and clutter too."""
    generator = torch.Generator().manual_seed(seed)
    y, x = torch.meshgrid(torch.arange(CELLS), torch.arange(CELLS), indexing="ij")
    features, truths, priors, images = [], [], [], []
    for index in range(count):
        row, column = (10 + torch.randint(12, (2,), generator=generator)).tolist()
        inside = ((y - row).square() + (x - column).square() < 8**2) & torch.tensor(index != absent)
        direction = torch.where(inside, (x > column).long(), 2 + index % 3)
        features.append(torch.eye(DIM)[direction].permute(2, 0, 1))
        truths.append(inside.float())
        seen = inside * torch.where(x > column, 1.0, 0.6)
        clutter = ((y - 3).abs() < 2) & ((x - 5 * index - 3).abs() < 2)
        priors.append(seen + 0.5 * clutter)
        images.append(torch.where(inside, 0.8, 0.2).expand(3, -1, -1))
    truth, prior = torch.stack(truths).unsqueeze(1), avg_pool2d(torch.stack(priors).unsqueeze(1), 2)
    maps, rgb = torch.stack(features), interpolate(torch.stack(images), scale_factor=PIXELS)
    return Planted(
        maps + noise * torch.randn(maps.shape, generator=generator),
        prior / prior.amax(dim=(2, 3), keepdim=True).clamp(min=1e-6),
        (rgb + 0.05 * torch.randn(rgb.shape, generator=generator)).clamp(0, 1),
        truth,
    )


def overlap(masks: Tensor, truth: Tensor) -> Tensor:
    """Intersection over union (N,) of masks above one half."""
    found, wanted = masks.flatten(1) > 0.5, truth.flatten(1) > 0.5
    return (found & wanted).sum(dim=1) / (found | wanted).sum(dim=1).clamp(min=1)
