"""Weights by formula: random to look at, the same everywhere, so that a network needs no file to be compared with."""

from __future__ import annotations

import math

import torch
from torch import nn

from workers.evaluation.analytic_set import hashed


def fill(network: nn.Module) -> None:
    """Set all parameters, in their order, to numbers that look random, of the spread of a usual initialisation."""
    with torch.no_grad():
        for j, (name, parameter) in enumerate(network.named_parameters()):
            values = torch.from_numpy(hashed(parameter.numel(), j))
            if parameter.ndim > 1:
                values = values * math.sqrt(12) * math.sqrt(2 / (parameter.numel() / parameter.shape[0]))
            else:
                values = 0.2 * values + (1 if name.endswith("weight") else 0)
            parameter.copy_(values.view_as(parameter))
