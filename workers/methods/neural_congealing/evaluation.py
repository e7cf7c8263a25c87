"""Carrying points through the atlas, to measure an alignment against known points."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from workers.geometry.coordinates import normalised_to_index
from workers.geometry.inversion import invert_at, patch_value
from workers.methods.neural_congealing.result import CongealingResult


def carry(result: CongealingResult, source: int, target: int, points: Tensor) -> Tensor:
    """Points (P, 2) of picture `source` to picture `target`, both as uploaded, in [-1, 1] of the working frame."""
    side = torch.where(result.mirrored[source], points.new_tensor([-1.0, 1.0]), points.new_tensor([1.0, 1.0]))
    inverse = invert_at(result.grids[source] * side, points * side)
    size = result.grids.shape[1]
    value, _ = patch_value(result.grids[target], normalised_to_index(inverse.points, size=size))
    return value


def pair_errors(result: CongealingResult, points: Tensor, pairs: Sequence[tuple[int, int]]) -> Tensor:
    """Distances (pairs * P,) between carried and true points, from points (N, P, 2) in [-1, 1]."""
    gaps = [(carry(result, i, j, points[i]) - points[j]).norm(dim=1) for i, j in pairs]
    return torch.cat(gaps)
