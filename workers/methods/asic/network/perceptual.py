"""Perceptual distance on the features of VGG-16 (GANgealing, arXiv 2112.05143; after Zhang et al., 1801.03924)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

_STAGES = ((64, 64), (128, 128), (256, 256, 256), (512, 512, 512), (512, 512, 512))
# ImageNet's mean and deviation, for pictures in [-1, 1].
_SHIFT = (-0.030, -0.088, -0.188)
_SCALE = (0.458, 0.448, 0.450)
_SHORTEST = 1e-10
_OFFICIAL_SHARE = 18.0


class Vgg16(nn.Module):
    """The thirteen convolutions of VGG-16 (arXiv 1409.1556), read after the last of each stage."""

    def __init__(self, width: float = 1.0) -> None:
        """Build it, with channels scaled by `width`."""
        super().__init__()
        before, stages = 3, []
        for outputs in _STAGES:
            layers: list[nn.Module] = []
            for count in outputs:
                after = int(width * count)
                layers += [nn.Conv2d(before, after, 3, padding=1), nn.ReLU(inplace=True)]
                before = after
            stages.append(nn.Sequential(*layers))
        self.stages = nn.ModuleList(stages)
        self.pool = nn.MaxPool2d(2)

    def forward(self, pictures: Tensor) -> list[Tensor]:
        """Features of the five stages for pictures (N, 3, S, S) in [-1, 1]."""
        x = (pictures - pictures.new_tensor(_SHIFT)[:, None, None]) / pictures.new_tensor(_SCALE)[:, None, None]
        features = []
        for index, stage in enumerate(self.stages):
            x = stage(self.pool(x) if index else x)
            features.append(x)
        return features


def layer_distances(first: list[Tensor], second: list[Tensor]) -> Tensor:
    """Per layer, the mean over pictures and places of the squared distance of unit features (layers,)."""
    return torch.stack([(_unit(a) - _unit(b)).square().sum(dim=1).mean() for a, b in zip(first, second, strict=True)])


def perceptual_distance(network: Vgg16, first: Tensor, second: Tensor) -> Tensor:
    """The official distance of pictures (N, 3, S, S) in [-1, 1]: the layers' sum divided by 18."""
    return layer_distances(network(first), network(second)).sum() / _OFFICIAL_SHARE


def _unit(features: Tensor) -> Tensor:
    unit: Tensor = features / (features.norm(dim=1, keepdim=True) + _SHORTEST)
    return unit
