"""Inputs by formula on which the official code of ASIC was measured."""

import torch
from torch import Tensor

from workers.evaluation.formula_weights import fill

__all__ = ["fill", "wave", "waves"]


def wave(size: int, index: int) -> Tensor:
    """A picture (3, size, size)."""
    axis = torch.arange(size, dtype=torch.float64)
    y, x = torch.meshgrid(axis, axis, indexing="ij")
    return torch.stack([torch.sin(0.2 * x + 0.1 * y * (c + 1) + index) for c in range(3)]).float()


def waves(size: int, *indices: int) -> Tensor:
    """Pictures (N, 3, size, size)."""
    return torch.stack([wave(size, index) for index in indices])
