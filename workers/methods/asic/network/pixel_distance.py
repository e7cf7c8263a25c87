"""Distance of pictures by their colours and edges alone, where no trained network is at hand."""

from __future__ import annotations

from torch import Tensor
from torch.nn.functional import avg_pool2d

_LEVELS = 3
_SOFT = 0.01


def pixel_distance(first: Tensor, second: Tensor) -> Tensor:
    """Mean distance of pictures (N, C, S, S), S >= 8: of colours, and of their differences to the next pixels.

    Distances are Charbonnier's (ICIP 1994), sqrt(d^2 + 0.01^2) - 0.01, averaged over S, S / 2 and S / 4 pixels a side.
    """
    apart = first - second
    total = apart.new_zeros(())
    for level in range(_LEVELS):
        apart = avg_pool2d(apart, 2) if level else apart
        total = total + _soft_mean(apart) + _soft_mean(apart.diff(dim=2)) + _soft_mean(apart.diff(dim=3))
    return total / _LEVELS


def _soft_mean(apart: Tensor) -> Tensor:
    return (apart.square() + _SOFT**2).sqrt().mean() - _SOFT
