"""Inputs by formula on which the official code of ASIC was measured."""

import math

import torch
from torch import Tensor, nn

from workers.evaluation.analytic_set import hashed


def fill(network: nn.Module) -> None:
    """Set all parameters, in their order, to numbers that look random."""
    with torch.no_grad():
        for j, (name, parameter) in enumerate(network.named_parameters()):
            values = torch.from_numpy(hashed(parameter.numel(), j))
            if parameter.ndim > 1:
                values = values * math.sqrt(12) * math.sqrt(2 / (parameter.numel() / parameter.shape[0]))
            else:
                values = 0.2 * values + (1 if name.endswith("weight") else 0)
            parameter.copy_(values.view_as(parameter))


def wave(size: int, index: int) -> Tensor:
    """A picture (3, size, size)."""
    axis = torch.arange(size, dtype=torch.float64)
    y, x = torch.meshgrid(axis, axis, indexing="ij")
    return torch.stack([torch.sin(0.2 * x + 0.1 * y * (c + 1) + index) for c in range(3)]).float()


def waves(size: int, *indices: int) -> Tensor:
    """Pictures (N, 3, size, size)."""
    return torch.stack([wave(size, index) for index in indices])
