"""Canonical coordinates as the network speaks of them, and the learned canonical grid.

Pixel k of S lies at 2 k / (S - 1) - 1, as with `align_corners=True`: the outermost pixels' centres are at -1 and 1.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import grid_sample, interpolate


def unit(pixels: Tensor, size: int) -> Tensor:
    """Pixel indices (...) of a side of `size` pixels to [-1, 1]."""
    return 2 * pixels / (size - 1) - 1


def identity(size: int, *, device: torch.device | str = "cpu") -> Tensor:
    """The grid (size, size, 2) of the pixels' own places."""
    axis = unit(torch.arange(size, dtype=torch.float32, device=device), size)
    y, x = torch.meshgrid(axis, axis, indexing="ij")
    return torch.stack([x, y], dim=-1)


def flow_at(flow: Tensor, places: Tensor) -> Tensor:
    """Read flows (N, S, S, 2) bilinearly at places (N, K, 2) in [-1, 1]; (N, K, 2)."""
    maps = flow.permute(0, 3, 1, 2)
    read = grid_sample(maps, places.unsqueeze(1), padding_mode="border", align_corners=True)
    return read.squeeze(2).transpose(1, 2)


def resized_flow(flow: Tensor, size: int) -> Tensor:
    """Flows (N, S, S, 2) at size x size pixels, as the official code resizes them: with `align_corners=False`."""
    if flow.shape[1] == size:
        return flow
    return interpolate(flow.permute(0, 3, 1, 2), (size, size), mode="bilinear").permute(0, 2, 3, 1)


def unwarp(grid: Tensor, flow: Tensor, size: int) -> Tensor:
    """The canonical grid (1, C, g, g) seen through flows (N, S, S, 2) at size x size pixels: (N, C, size, size)."""
    places = resized_flow(flow, size)
    return grid_sample(grid.expand(len(flow), -1, -1, -1), places, padding_mode="border", align_corners=True)
