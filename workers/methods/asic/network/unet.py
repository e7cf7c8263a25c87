"""The U-Net that predicts where every pixel lies in the canonical plane.

Layout of the official code of ASIC (arXiv 2303.16201), after Ronneberger et al. (arXiv 1505.04597). Parameters stand in
the official order.
"""

from __future__ import annotations

import math
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn.functional import pad

_CHANNELS = (64, 128, 256, 512, 1024)
_MOST_GROUPS = 8
_GROUP_CHANNELS = 4

Norm = Literal["batch", "group"]
"""`batch`, the official one, makes a picture's offsets depend on the pictures beside it; `group` does not."""


class UNet(nn.Module):
    """Pictures in, offsets from the identity out; zero before any training."""

    def __init__(self, width: float = 0.5, *, bilinear: bool = False, norm: Norm = "batch") -> None:
        """Build it.

        Args:
            width: channels as a share of the usual 64 to 1024.
            bilinear: spread by interpolation instead of transposed convolutions, with half the channels below.
            norm: how features are normalised.
        """
        super().__init__()
        channels = [int(width * count) for count in _CHANNELS]
        halved = 2 if bilinear else 1
        self.inc = DoubleConv(3, channels[0], norm)
        lowest = [*channels[1:4], channels[4] // halved]
        self.downs = nn.ModuleList(Down(above, below, norm) for above, below in zip(channels[:4], lowest, strict=True))
        ends = [channels[3] // halved, channels[2] // halved, channels[1] // halved, channels[0]]
        self.ups = nn.ModuleList(
            Up(below, end, norm, bilinear=bilinear) for below, end in zip(channels[:0:-1], ends, strict=True)
        )
        self.out = nn.Conv2d(channels[0], 2, 1)
        nn.init.zeros_(self.out.weight)
        if self.out.bias is not None:
            nn.init.zeros_(self.out.bias)

    def forward(self, pictures: Tensor) -> Tensor:
        """Offsets (N, H, W, 2), (x, y) in units of half the picture, of pictures (N, 3, H, W)."""
        skips = [self.inc(pictures)]
        for down in self.downs:
            skips.append(down(skips[-1]))
        x = skips.pop()
        for up in self.ups:
            x = up(x, skips.pop())
        offsets: Tensor = self.out(x).permute(0, 2, 3, 1)
        return offsets


class DoubleConv(nn.Sequential):
    """Twice: 3 x 3 convolution, normalisation, ReLU."""

    def __init__(self, inputs: int, outputs: int, norm: Norm, *, middle: int | None = None) -> None:
        middle = middle or outputs
        super().__init__(
            nn.Conv2d(inputs, middle, 3, padding=1, bias=False),
            _norm(norm, middle),
            nn.ReLU(inplace=True),
            nn.Conv2d(middle, outputs, 3, padding=1, bias=False),
            _norm(norm, outputs),
            nn.ReLU(inplace=True),
        )


class Down(nn.Sequential):
    """Half the cells a side."""

    def __init__(self, inputs: int, outputs: int, norm: Norm) -> None:
        super().__init__(nn.MaxPool2d(2), DoubleConv(inputs, outputs, norm))


class Up(nn.Module):
    """Twice the cells a side, joined with what was there on the way down."""

    def __init__(self, inputs: int, outputs: int, norm: Norm, *, bilinear: bool) -> None:
        super().__init__()
        self.spread: nn.Module
        if bilinear:
            self.spread = nn.Upsample(scale_factor=2, mode="bilinear", align_corners=True)
        else:
            self.spread = nn.ConvTranspose2d(inputs, inputs // 2, 2, 2)
        self.conv = DoubleConv(inputs, outputs, norm, middle=inputs // 2 if bilinear else outputs)

    def forward(self, x: Tensor, skip: Tensor) -> Tensor:
        """Spread (N, C, h, w) to the size of `skip`, padding odd sizes with zeros."""
        x = self.spread(x)
        down, right = skip.shape[-2] - x.shape[-2], skip.shape[-1] - x.shape[-1]
        x = pad(x, (right // 2, right - right // 2, down // 2, down - down // 2))
        joined: Tensor = self.conv(torch.cat([skip, x], dim=1))
        return joined


def _norm(norm: Norm, channels: int) -> nn.Module:
    if norm == "batch":
        return nn.BatchNorm2d(channels)
    return nn.GroupNorm(max(1, math.gcd(_MOST_GROUPS * _GROUP_CHANNELS, channels) // _GROUP_CHANNELS), channels)
