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
_FINAL_STEP_CELLS = 1e-3
_REACH_CELLS = 2
_MIN_DETERMINANT = 1e-12
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
    return _nearest(grid, points)[0]


def _nearest(grid: Tensor, points: Tensor) -> tuple[Tensor, Tensor]:
    """Index (P,) of the nearest cell and the distance (P,) to its value."""
    values = grid.reshape(-1, 2).double().cpu().numpy()
    distance, index = cKDTree(values, balanced_tree=False).query(points.double().cpu().numpy())
    return torch.from_numpy(index).to(points.device), torch.from_numpy(distance).to(points.device)


class Patches:
    """A map (A, B, 2) as the bilinear patches between neighbouring cells, prepared for being read at many places."""

    def __init__(self, grid: Tensor) -> None:
        """Keep each patch's corner, its two edges and its twist."""
        corner, right, down = grid[:-1, :-1], grid[:-1, 1:], grid[1:, :-1]
        twist = grid[1:, 1:] - down - right + corner
        parts = torch.stack([corner, right - corner, down - corner, twist]).permute(0, 3, 1, 2)
        self._rows, self._columns = parts.shape[2:]
        self._parts = parts.reshape(8, -1).contiguous()
        self.longest_edges = parts[1:].norm(dim=1).amax(dim=(1, 2)).sum()
        """No place within half a cell of a patch is farther than this from the value of its nearest corner."""

    def read(self, position: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Value and its derivatives along columns and along rows, (2, P) each, at index positions (2, P).

        A position (column, row) is 0 at the first cell's centre; beyond the outermost centres the last patch continues.
        """
        column = position[0].floor().clamp_(0, self._columns - 1)
        row = position[1].floor().clamp_(0, self._rows - 1)
        patch = self._parts.index_select(1, (row * self._columns + column).long())
        corner, edge_x, edge_y, twist = patch.view(4, 2, -1).unbind()
        fx, fy = position[0] - column, position[1] - row
        along_x = edge_x + fy * twist
        return corner + fx * along_x + fy * edge_y, along_x, edge_y + fx * twist


def patch_value(grid: Tensor, position: Tensor) -> tuple[Tensor, Tensor]:
    """Value (P, 2) and Jacobian (P, 2, 2), d value / d (column, row), of the bilinear map at index positions (P, 2).

    See `Patches.read`.
    """
    value, along_x, along_y = Patches(grid).read(position.T)
    return value.T, torch.stack([along_x.T, along_y.T], dim=-1)


def invert_at(grid: Tensor, points: Tensor) -> InverseMap:
    """Atlas points that the map (A, B, 2) sends to image points (P, 2): nearest cell, then Newton on the patches.

    A point is valid when Newton converged, within the atlas, where the map keeps orientation (positive Jacobian).
    Points out of the map's reach take no steps, nor do those that have arrived; `invert_at_plainly` is the same
    without such care.
    """
    height, width = grid.shape[:2]
    index, distance = _nearest(grid, points)
    patches, targets = Patches(grid), points.to(grid).T
    start = torch.stack([index % width, index // width]).to(grid)
    position, valid = start.clone(), torch.zeros_like(index, dtype=torch.bool)
    active = (distance <= patches.longest_edges).nonzero().squeeze(1)
    for _ in range(_NEWTON_STEPS):
        here, origin = position[:, active], start[:, active]
        value, along_x, along_y = patches.read(here)
        determinant = _cross(along_x, along_y)
        step = _solve(targets[:, active] - value, along_x, along_y, determinant)
        here = here + step
        arrived = step.square().sum(dim=0) < _FINAL_STEP_CELLS**2
        valid[active] = arrived & (determinant > 0) & _inside(here, height, width)
        position[:, active] = origin + (here - origin).clamp(-_REACH_CELLS, _REACH_CELLS)
        active = active[~arrived]
    return InverseMap(_in_atlas(torch.where(valid, position, start), height, width), valid)


def invert_at_plainly(grid: Tensor, points: Tensor) -> InverseMap:
    """What `invert_at` computes: the same number of steps for every point in double precision, all tests at the end."""
    height, width = grid.shape[:2]
    grid, points = grid.double(), points.double()
    index = nearest_cells(grid, points)
    start = torch.stack([index % width, index // width], dim=-1).double()
    position, step = start, torch.full_like(start, float("inf"))
    for _ in range(_NEWTON_STEPS):
        value, jacobian = patch_value(grid, position)
        step = torch.linalg.lstsq(jacobian, (points - value).unsqueeze(-1)).solution.squeeze(-1)
        position = start + (position + step - start).clamp(-_REACH_CELLS, _REACH_CELLS)
    value, jacobian = patch_value(grid, position)
    converged = (step.norm(dim=1) < _FINAL_STEP_CELLS) & ((points - value).norm(dim=1) < 1e-4)
    valid = converged & _inside(position.T, height, width) & (torch.linalg.det(jacobian) > 0)
    return InverseMap(_in_atlas(torch.where(valid.unsqueeze(1), position, start).T, height, width), valid)


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


def _cross(first: Tensor, second: Tensor) -> Tensor:
    return first[0] * second[1] - first[1] * second[0]


def _solve(gap: Tensor, along_x: Tensor, along_y: Tensor, determinant: Tensor) -> Tensor:
    """The step (2, P) with step_x along_x + step_y along_y = gap, by Cramer's rule."""
    safe = torch.where(determinant.abs() < _MIN_DETERMINANT, _MIN_DETERMINANT, determinant)
    return torch.stack([_cross(gap, along_y), _cross(along_x, gap)]) / safe


def _inside(position: Tensor, height: int, width: int) -> Tensor:
    """Whether index positions (2, P) lie in the atlas, half a cell beyond the outermost centres included."""
    last = position.new_tensor([[width - 1], [height - 1]])
    inside: Tensor = ((position >= -_RIM_CELLS) & (position <= last + _RIM_CELLS)).all(dim=0)
    return inside


def _in_atlas(position: Tensor, height: int, width: int) -> Tensor:
    """Index positions (2, P) to atlas points (P, 2) in [-1, 1]."""
    x, y = index_to_normalised(position[0], size=width), index_to_normalised(position[1], size=height)
    return torch.stack([x, y], dim=-1).float()


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
