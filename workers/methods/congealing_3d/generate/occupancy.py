"""Where a field is empty, so that rays skip it (Li et al., NerfAcc, 2023)."""

from __future__ import annotations

import torch
from torch import Tensor

from workers.methods.congealing_3d.generate.field import HALF_SIDE, Volume

CELLS = 32
INTERVAL = 16
"""Steps from one update to the next."""
_DECAY = 0.95
_MOST_FAINT = 0.01


class Occupancy:
    """How much each of 32^3 cells weakens light along one step of a ray; all count as full until looked at."""

    def __init__(self, step: float, device: torch.device, *, cells: int = CELLS) -> None:
        """Remember the step of the rays, in half sides of the cube."""
        self._step, self._cells = step, cells
        self.values = torch.full((cells, cells, cells), torch.inf, device=device)

    @property
    def threshold(self) -> float:
        """Weakening below which a cell, or a sample of a ray, counts as empty."""
        return min(float(self.values.mean()), _MOST_FAINT)

    @torch.no_grad()
    def update(self, volume: Volume, generator: torch.Generator) -> None:
        """Look at one place of every cell, drawn on the CPU; what was full fades slowly."""
        axis = torch.arange(self._cells, dtype=torch.float32)
        corners = torch.stack(torch.meshgrid(axis, axis, axis, indexing="ij"), dim=-1).view(-1, 3)
        places = (corners + torch.rand(corners.shape, generator=generator)) / self._cells
        points = ((2 * places - 1) * HALF_SIDE).to(self.values.device)
        seen = volume.density(points).view_as(self.values) * self._step
        before = torch.where(self.values.isinf(), 0.0, self.values)
        self.values = torch.maximum(before * _DECAY, seen.to(self.values))

    @property
    def box(self) -> Tensor:
        """Corners (2, 3) of the box around all cells that are not empty; the whole cube if there are none."""
        cells = (self.values > self.threshold).nonzero()
        if not len(cells):
            return self.values.new_tensor([[-HALF_SIDE] * 3, [HALF_SIDE] * 3])
        return (torch.stack([cells.amin(dim=0), cells.amax(dim=0) + 1]) * (2 / self._cells) - 1) * HALF_SIDE

    def is_full(self, points: Tensor) -> Tensor:
        """Which points (..., 3) of the cube lie in cells that are not empty, (...) bool."""
        cell = ((points / HALF_SIDE + 1) / 2 * self._cells).long().clamp(0, self._cells - 1)
        x, y, z = cell.unbind(-1)
        return (self.values > self.threshold)[x, y, z]
