"""Carrying points as the official evaluation of Neural Congealing does: through whole atlas cells.

Points are (x, y) pixel indices, integers at pixel centres. For sub-pixel transfer see
`workers.methods.neural_congealing.evaluation`.
"""

from __future__ import annotations

import torch
from torch import Tensor

from workers.geometry.coordinates import identity_grid, index_to_normalised, normalised_to_index, sample_at
from workers.geometry.similarity import invert, transform


def atlas_cells(matrix: Tensor, flow: Tensor, points: Tensor, *, picture_size: int) -> Tensor:
    """The atlas cell (column, row), integers (P, 2), whose content shows each of a picture's points (P, 2).

    The point goes back through the similarity in closed form, then to the cell of which the flow ends nearest to it;
    points beyond the atlas thus end in a cell at its rim.

    Args:
        matrix: (2, 3) similarity atlas -> picture.
        flow: (A, A, 2) residual flow.
        points: in the picture, pixel indices.
        picture_size: side of the picture in pixels.
    """
    size = flow.shape[0]
    normalised = index_to_normalised(points, size=picture_size)
    back = transform(invert(matrix.unsqueeze(0)), normalised.unsqueeze(0))[0]
    ends = (identity_grid(size, size, device=flow.device) + flow).reshape(-1, 2)
    nearest = torch.cdist(back, ends, compute_mode="donot_use_mm_for_euclid_dist").argmin(dim=1)
    return torch.stack([nearest % size, nearest // size], dim=-1)


def picture_points(grid: Tensor, cells: Tensor, *, picture_size: int) -> Tensor:
    """Where a picture shows atlas cells (P, 2), as pixel indices (P, 2), by its map (A, A, 2) atlas -> picture.

    The official code's slip is kept: cells are normalised as if the atlas had the picture's size, which stretches
    coordinates by up to half a picture's pixel.
    """
    size = grid.shape[0]
    position = index_to_normalised(cells.to(grid), size=picture_size, out_size=size)
    values = sample_at(grid.permute(2, 0, 1).unsqueeze(0), position.unsqueeze(0))[0].T
    return normalised_to_index(values, size=picture_size)
