"""Sub-pixel inversion of dense maps.

A map is a grid (A, A, 2): at each atlas cell's centre the image point it goes to, both sides in [-1, 1]. Between
cell centres it is bilinear. Inverting means: for image points, the atlas point that goes there.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from scipy.spatial import cKDTree
from torch import Tensor

from workers.geometry.coordinates import cell_centres, identity_grid, index_to_normalised, normalised_to_index

_NEWTON_STEPS = 6
_FINAL_STEP_CELLS = 0.02
_RIM_CELLS = 0.5


@dataclass(frozen=True)
class InverseMap:
    """Where image points lie in the atlas.

    Attributes:
        points: (..., 2) atlas points in [-1, 1]; the nearest cell's own where not valid.
        valid: (...) True where the atlas really covers the image point and the map does not fold there.
    """

    points: Tensor
    valid: Tensor


def nearest_cells(grid: Tensor, points: Tensor) -> Tensor:
    """Flat index (P,) of the cell of grid (A, B, 2) whose value is nearest to each point (P, 2)."""
    tree = cKDTree(grid.reshape(-1, 2).double().cpu().numpy())
    _, index = tree.query(points.double().cpu().numpy())
    return torch.from_numpy(index).to(points.device)


def patch_value(grid: Tensor, position: Tensor) -> tuple[Tensor, Tensor]:
    """Value (P, 2) and Jacobian (P, 2, 2), d value / d (column, row), of the bilinear map at index positions (P, 2).

    Positions are (column, row), 0 at the first cell's centre; beyond the outermost centres the last patch continues.
    """
    height, width = grid.shape[:2]
    column = position[:, 0].floor().clamp(0, width - 2).long()
    row = position[:, 1].floor().clamp(0, height - 2).long()
    fx, fy = (position[:, 0] - column).unsqueeze(1), (position[:, 1] - row).unsqueeze(1)
    top_left, top_right = grid[row, column], grid[row, column + 1]
    low_left, low_right = grid[row + 1, column], grid[row + 1, column + 1]
    along_x = (1 - fy) * (top_right - top_left) + fy * (low_right - low_left)
    along_y = (1 - fx) * (low_left - top_left) + fx * (low_right - top_right)
    value = top_left + fx * (top_right - top_left) + fy * (low_left - top_left)
    value = value + fx * fy * (low_right - low_left - top_right + top_left)
    return value, torch.stack([along_x, along_y], dim=-1)


def invert_at(grid: Tensor, points: Tensor) -> InverseMap:
    """Atlas points that the map (A, B, 2) sends to image points (P, 2): nearest cell, then Newton on the patches.

    A point is valid when Newton converged, within the atlas, where the map keeps orientation (positive Jacobian).
    """
    height, width = grid.shape[:2]
    grid, points = grid.double(), points.double()
    index = nearest_cells(grid, points)
    start = torch.stack([index % width, index // width], dim=-1).double()
    position, step = start, torch.full_like(start, float("inf"))
    for _ in range(_NEWTON_STEPS):
        value, jacobian = patch_value(grid, position)
        step = _newton_step(points - value, jacobian)
        moved = start + (position + step - start).clamp(-2, 2)
        step, position = moved - position, moved
    valid = _is_valid(grid, points, position, step)
    position = torch.where(valid.unsqueeze(1), position, start)
    x = index_to_normalised(position[:, 0], size=width)
    y = index_to_normalised(position[:, 1], size=height)
    return InverseMap(torch.stack([x, y], dim=-1).float(), valid)


def invert_grid(grid: Tensor, height: int, width: int) -> InverseMap:
    """The dense inverse of a map (A, B, 2): points (h, w, 2) and valid (h, w) of h x w image cells."""
    points = identity_grid(height, width, device=grid.device).reshape(-1, 2)
    inverse = invert_at(grid, points)
    return InverseMap(inverse.points.reshape(height, width, 2), inverse.valid.reshape(height, width))


def nearest_inverse(grid: Tensor, points: Tensor) -> Tensor:
    """Centre (P, 2) of the cell whose value is nearest: the official whole-cell inverse, by brute force."""
    distances = torch.cdist(points, grid.reshape(-1, 2))
    index = distances.argmin(dim=1)
    height, width = grid.shape[:2]
    columns, rows = cell_centres(width, device=grid.device), cell_centres(height, device=grid.device)
    return torch.stack([columns[index % width], rows[index // width]], dim=-1)


def jacobian_determinant(grids: Tensor) -> Tensor:
    """Determinant (N, A-1, B-1) of maps (N, A, B, 2) by forward differences; 1 for the identity, <= 0 where folded."""
    height, width = grids.shape[1:3]
    along_x = (grids[:, :-1, 1:] - grids[:, :-1, :-1]) * width / 2
    along_y = (grids[:, 1:, :-1] - grids[:, :-1, :-1]) * height / 2
    return along_x[..., 0] * along_y[..., 1] - along_x[..., 1] * along_y[..., 0]


def _newton_step(gap: Tensor, jacobian: Tensor) -> Tensor:
    determinant = torch.linalg.det(jacobian)
    safe = torch.where(determinant.abs() < 1e-12, torch.full_like(determinant, 1e-12), determinant)
    (a, b), (c, d) = jacobian[:, 0].unbind(-1), jacobian[:, 1].unbind(-1)
    x = (d * gap[:, 0] - b * gap[:, 1]) / safe
    y = (a * gap[:, 1] - c * gap[:, 0]) / safe
    return torch.stack([x, y], dim=-1)


def _is_valid(grid: Tensor, points: Tensor, position: Tensor, step: Tensor) -> Tensor:
    """Converged, inside the atlas (half a cell beyond the outermost centres included), orientation kept."""
    height, width = grid.shape[:2]
    value, jacobian = patch_value(grid, position)
    converged = (step.norm(dim=1) < _FINAL_STEP_CELLS) & ((points - value).norm(dim=1) < 1e-4)
    last = position.new_tensor([width - 1, height - 1])
    inside = ((position >= -_RIM_CELLS) & (position <= last + _RIM_CELLS)).all(dim=1)
    keeps_orientation: Tensor = torch.linalg.det(jacobian) > 0
    valid: Tensor = converged & inside & keeps_orientation
    return valid


def fold_fraction(grids: Tensor, weights: Tensor | None = None) -> Tensor:
    """Share (N,) of atlas cells of maps (N, A, B, 2) at which orientation is lost, weighted by (A, B) if given."""
    folded = (jacobian_determinant(grids) <= 0).to(grids)
    if weights is None:
        return folded.mean(dim=(1, 2))
    inner = weights[:-1, :-1]
    return (folded * inner).sum(dim=(1, 2)) / inner.sum().clamp(min=1e-8)


def round_trip_error(grid: Tensor, inverse: InverseMap) -> Tensor:
    """Distance (H, W) between each image cell's centre and where its atlas point goes back to; NaN where not valid."""
    height, width = inverse.valid.shape
    points = identity_grid(height, width, device=grid.device).reshape(-1, 2)
    flat = inverse.points.reshape(-1, 2)
    column = normalised_to_index(flat[:, 0], size=grid.shape[1])
    row = normalised_to_index(flat[:, 1], size=grid.shape[0])
    value, _ = patch_value(grid, torch.stack([column, row], dim=-1))
    error = (value - points).norm(dim=1).reshape(height, width)
    return torch.where(inverse.valid, error, torch.full_like(error, float("nan")))
