"""Feature maps given by formulas of the place: smooth, and rich enough for every place to be like no other."""

import torch
from torch import Tensor
from torch.nn.functional import normalize

WAVES = 48
PER_CELL = 0.25
"""Radians that a wave turns in a cell, typically: at a temperature of 0.02 similarities fade over about a cell."""


def field(cells: Tensor) -> Tensor:
    """Unit vectors (C, ...) at places (..., 2) in cells; how alike two places are depends on how far they lie apart."""
    waves = torch.randn(WAVES, 2, generator=torch.Generator().manual_seed(5)) * PER_CELL
    angles = torch.einsum("kd,...d->k...", waves.to(cells), cells)
    return normalize(torch.cat([angles.cos(), angles.sin()]), dim=0)


def grid(height: int, width: int) -> Tensor:
    """Positions (height, width, 2) of cells, (column, row)."""
    row, column = torch.meshgrid(torch.arange(float(height)), torch.arange(float(width)), indexing="ij")
    return torch.stack([column, row], dim=-1)
