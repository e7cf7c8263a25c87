"""The network behind the backbone `embedded`: convolutions down to a sixteenth, then attention over the whole frame."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.functional import gelu, interpolate, normalize, relu, scaled_dot_product_attention

FINE_STRIDE = 8
COARSE_STRIDE = 16
_HEAD_CHANNELS = 32
_MLP_RATIO = 3
_FIRST_GAIN = 0.1


@dataclass(frozen=True)
class Shape:
    """Sizes of a network."""

    width: int = 28
    """Channels of the stem; they double with every stage."""
    attention_blocks: int = 2
    lateral: int = 128
    """Channels in which the two last stages are joined."""
    joined: int = 96
    """Channels of the joined descriptor."""
    detail: int = 64
    """Channels of the descriptor of details."""

    @property
    def fine(self) -> int:
        """Channels of the stage with cells of 8 pixels."""
        return 4 * self.width

    @property
    def coarse(self) -> int:
        """Channels of the stage with cells of 16 pixels."""
        return 8 * self.width


@dataclass(frozen=True)
class Stages:
    """What the network says of pictures of H x W pixels.

    Attributes:
        fine: (N, 4 * width, H / 8, W / 8).
        coarse: (N, 8 * width, H / 16, W / 16); has seen the whole picture.
        joined: (N, joined, H / 8, W / 8), of length 1; alike for the same part of other things of the kind.
        detail: (N, detail, H / 8, W / 8), of length 1; alike for the same place of the same thing.
    """

    fine: Tensor
    coarse: Tensor
    joined: Tensor
    detail: Tensor


class ResidualBlock(nn.Module):
    """Two 3 x 3 convolutions with batch normalisation and a way around them (He et al., arXiv 1512.03385)."""

    def __init__(self, inputs: int, outputs: int, *, stride: int = 1) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False)
        self.norm1: nn.Module = nn.BatchNorm2d(outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False)
        last = nn.BatchNorm2d(outputs)
        self.norm2: nn.Module = last
        self.around: nn.Module = nn.Identity()
        if inputs != outputs or stride != 1:
            pooled = nn.AvgPool2d(stride)
            self.around = nn.Sequential(pooled, nn.Conv2d(inputs, outputs, 1, bias=False), nn.BatchNorm2d(outputs))
        else:
            nn.init.zeros_(last.weight)

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, inputs, h, w) to (N, outputs, h / stride, w / stride)."""
        inner: Tensor = self.norm2(self.conv2(relu(self.norm1(self.conv1(x)))))
        return relu(inner + self.around(x))


class AttentionBlock(nn.Module):
    """A transformer block on a map; where a cell lies it learns from a depthwise convolution (arXiv 2102.10882)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.heads = max(1, channels // _HEAD_CHANNELS)
        self.position = nn.Conv2d(channels, channels, 3, 1, 1, groups=channels)
        self.norm1 = nn.LayerNorm(channels)
        self.qkv = nn.Linear(channels, 3 * channels)
        self.project = nn.Linear(channels, channels)
        self.norm2 = nn.LayerNorm(channels)
        self.expand = nn.Linear(channels, _MLP_RATIO * channels)
        self.reduce = nn.Linear(_MLP_RATIO * channels, channels)
        self.gain1 = nn.Parameter(torch.full((channels,), _FIRST_GAIN))
        self.gain2 = nn.Parameter(torch.full((channels,), _FIRST_GAIN))

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, C, h, w) to the same shape; every cell looks at all."""
        count, channels, height, width = x.shape
        tokens = (x + self.position(x)).flatten(2).transpose(1, 2)
        split = self.qkv(self.norm1(tokens)).view(count, height * width, 3, self.heads, channels // self.heads)
        query, key, value = split.permute(2, 0, 3, 1, 4)
        attended = scaled_dot_product_attention(query, key, value).transpose(1, 2).reshape(tokens.shape)
        tokens = tokens + self.gain1 * self.project(attended)
        tokens = tokens + self.gain2 * self.reduce(gelu(self.expand(self.norm2(tokens))))
        mapped: Tensor = tokens.transpose(1, 2).reshape(x.shape)
        return mapped


class EmbeddedNetwork(nn.Module):
    """Pictures in, features of two stages and their joined descriptor out."""

    def __init__(self, shape: Shape | None = None) -> None:
        """Build an untrained network."""
        super().__init__()
        self.shape = shape = shape or Shape()
        width = shape.width
        self.stem = nn.Sequential(nn.Conv2d(3, width, 5, 2, 2, bias=False), nn.BatchNorm2d(width), nn.ReLU())
        self.quarter = ResidualBlock(width, 2 * width, stride=2)
        self.eighth = nn.Sequential(
            ResidualBlock(2 * width, shape.fine, stride=2), ResidualBlock(shape.fine, shape.fine)
        )
        attention = [AttentionBlock(shape.coarse) for _ in range(shape.attention_blocks)]
        self.sixteenth = nn.Sequential(ResidualBlock(shape.fine, shape.coarse, stride=2), *attention)
        self.lateral_fine = nn.Conv2d(shape.fine, shape.lateral, 1)
        self.lateral_coarse = nn.Conv2d(shape.coarse, shape.lateral, 1)
        self.join = nn.Conv2d(shape.lateral, shape.joined, 3, 1, 1)
        self.look_closely = nn.Conv2d(shape.fine, shape.detail, 1)

    def forward(self, pictures: Tensor) -> Stages:
        """Describe pictures (N, 3, H, W), normalised by ImageNet's mean and deviation; sides are multiples of 16."""
        fine = self.eighth(self.quarter(self.stem(pictures)))
        coarse = self.sixteenth(fine)
        spread = interpolate(self.lateral_coarse(coarse), fine.shape[-2:], mode="bilinear")
        joined = self.join(relu(self.lateral_fine(fine) + spread))
        detail = normalize(self.look_closely(fine), dim=1)
        return Stages(fine=fine, coarse=coarse, joined=normalize(joined, dim=1), detail=detail)
