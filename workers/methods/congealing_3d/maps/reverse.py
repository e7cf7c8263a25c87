"""From canonical places to an image: the nearest place in its render, then the nearest end of its warp, plainly.

Results are read through `alignment`, which needs no render; this is the paper's way (3D Congealing, arXiv 2404.02125).
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from scipy.spatial import cKDTree
from torch import Tensor

from workers.geometry.coordinates import identity_grid
from workers.methods.congealing_3d.maps.forward import JUMP_STEPS, usual_step
from workers.methods.congealing_3d.maps.warp import Warps

REACH = 0.025
"""Places farther than this from all that the render shows are hidden; in units of the canonical frame."""
_SHOWN = 0.5
_MOST_CELLS, _RIDGE = 1.0, 1e-6


@dataclass(frozen=True)
class Reverse:
    """Where P canonical places lie.

    Attributes:
        rendered: (P, 2) row and column of the render's pixel that shows what is nearest.
        cells: (P, 2) row and column of the warp's cell that ends nearest to it.
        points: (P, 2) between cells, (x, y), in the window's [-1, 1] coordinates.
        distance: (P,) from what the render shows there.
        visible: (P,) bool, whether that is within reach.
    """

    rendered: Tensor
    cells: Tensor
    points: Tensor
    distance: Tensor
    visible: Tensor


@torch.no_grad()
def reverse_map(warp: Warps, coordinates: Tensor, hit: Tensor, points: Tensor, *, reach: float = REACH) -> Reverse:
    """Find canonical places (P, 3) in an image.

    Args:
        warp: of this image alone; cells of at least half on the object take part.
        coordinates: (3, s, s) of the render.
        hit: (1, s, s) bool, where it shows the surface.
        points: to find.
        reach: how far the render may be from what is visible.

    Raises:
        ValueError: the render or the image's mask shows nothing.
    """
    shown = warp.mask[0, 0] >= _SHOWN
    if not (hit.any() and shown.any()):
        raise ValueError("there is nothing to find places in: the render or the image's mask is empty")
    table = coordinates.permute(1, 2, 0)
    rendered, distance = _nearest(table, hit[0], points)
    place = _refined(identity_grid(*table.shape[:2], device=table.device), table, hit[0], rendered, points)
    own = identity_grid(*shown.shape, device=table.device)
    ends = own + warp.displacement[0].permute(1, 2, 0)
    cells, _ = _nearest(ends, shown, place)
    return Reverse(rendered, cells, _refined(own, ends, shown, cells, place), distance, distance <= reach)


def _nearest(table: Tensor, known: Tensor, points: Tensor) -> tuple[Tensor, Tensor]:
    """Row and column (P, 2) of the known value of a table (A, B, D) nearest to points (P, D), and the distances."""
    rows = known.nonzero()
    distance, index = cKDTree(table[known].double().cpu().numpy()).query(points.double().cpu().numpy())
    found = torch.from_numpy(index).to(rows.device)
    return rows[found], torch.from_numpy(distance).to(points)


def _refined(own: Tensor, table: Tensor, known: Tensor, cells: Tensor, points: Tensor) -> Tensor:
    """Places (P, 2) around the cells' own where a table, taken as linear, has the values (P, D): at most one cell off.

    Slopes come from known neighbours on the same surface; along an axis without any the place stays.
    """
    row, column = cells.unbind(dim=1)
    near = JUMP_STEPS * usual_step(table.permute(2, 0, 1), known.unsqueeze(0))
    slopes = torch.stack([_slope(table, known, row, column, along, near) for along in ((0, 1), (1, 0))], dim=-1)
    normal = slopes.transpose(1, 2) @ slopes
    ridge = (_RIDGE * normal.diagonal(dim1=1, dim2=2).amax(dim=1)).clamp_min(_RIDGE**2)
    normal = normal + ridge[:, None, None] * torch.eye(2, device=table.device)
    missing = (points - table[row, column]).unsqueeze(-1)
    step: Tensor = torch.linalg.solve(normal, slopes.transpose(1, 2) @ missing).squeeze(-1)
    step = step.clamp(-_MOST_CELLS, _MOST_CELLS)
    return own[row, column] + 2 * step / step.new_tensor([table.shape[1], table.shape[0]])


def _slope(table: Tensor, known: Tensor, row: Tensor, column: Tensor, along: tuple[int, int], near: Tensor) -> Tensor:
    """Mean difference (P, D) by cell to the neighbours before and after that are known and near; 0 without any."""
    total, count = torch.zeros_like(table[row, column]), torch.zeros_like(row, dtype=table.dtype)
    for sign in (-1, 1):
        other_row = (row + sign * along[0]).clamp(0, table.shape[0] - 1)
        other_column = (column + sign * along[1]).clamp(0, table.shape[1] - 1)
        difference = sign * (table[other_row, other_column] - table[row, column])
        distance = difference.norm(dim=-1)
        counts = known[other_row, other_column] & (distance > 0) & (distance <= near)
        total, count = total + counts[:, None] * difference, count + counts
    return total / count.clamp_min(1).unsqueeze(-1)
