"""Normalised coordinates: [-1, 1] over the whole image, `align_corners=False`, last axis (x, y).

Cell k of n has its centre at (2k + 1) / n - 1. An image point in continuous pixels, where pixel (row i, column j)
covers [j, j + 1] x [i, i + 1], sits at 2 x / width - 1.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import grid_sample


def cell_centres(size: int, *, device: torch.device | str = "cpu") -> Tensor:
    """Centres (size,) of `size` equal cells over [-1, 1]."""
    return (2 * torch.arange(size, dtype=torch.float32, device=device) + 1) / size - 1


def identity_grid(height: int, width: int, *, device: torch.device | str = "cpu") -> Tensor:
    """The grid (height, width, 2) whose value at each cell is the cell's own centre."""
    y, x = torch.meshgrid(cell_centres(height, device=device), cell_centres(width, device=device), indexing="ij")
    return torch.stack([x, y], dim=-1)


def index_to_normalised(index: Tensor, *, size: int, out_size: int | None = None) -> Tensor:
    """Cell indices (integers at cell centres) to [-1, 1].

    With `out_size` equal to `size`, the default, this is the cell-centre rule. The official implementation calls it
    with two different sizes when it carries points, which stretches coordinates by (size - 1) / (out_size - 1)
    * out_size / size; pass both to reproduce that.
    """
    last = (size if out_size is None else out_size) - 1
    return (2 * index / last - 1) * (size - 1) / size


def normalised_to_index(points: Tensor, *, size: int, out_size: int | None = None) -> Tensor:
    """Inverse of `index_to_normalised`."""
    last = (size if out_size is None else out_size) - 1
    return (points * size / (size - 1) + 1) * last / 2


def pixels_to_normalised(points: Tensor, *, width: float, height: float) -> Tensor:
    """Continuous pixel coordinates (..., 2) to [-1, 1]."""
    return 2 * points / points.new_tensor([width, height]) - 1


def normalised_to_pixels(points: Tensor, *, width: float, height: float) -> Tensor:
    """Inverse of `pixels_to_normalised`."""
    return (points + 1) * points.new_tensor([width, height]) / 2


def sample(images: Tensor, grids: Tensor, *, padding: str = "border") -> Tensor:
    """Read images (N, C, h, w) bilinearly at grids (N, H, W, 2); (N, C, H, W).

    `padding` says what lies outside the image: `border` repeats its edge, `zeros` is 0.
    """
    return grid_sample(images, grids, mode="bilinear", padding_mode=padding, align_corners=False)


def sample_at(images: Tensor, points: Tensor, *, padding: str = "border") -> Tensor:
    """Read images (N, C, h, w) bilinearly at scattered points (N, P, 2); (N, C, P)."""
    return sample(images, points.unsqueeze(1), padding=padding).squeeze(2)


def resize_grid(grids: Tensor, size: int) -> Tensor:
    """Grids (N, H, W, 2) read at size x size cells: linear inside, linear extrapolation in the outermost half cells."""
    rows = _linear_weights(grids.shape[1], size, device=grids.device).to(grids)
    columns = _linear_weights(grids.shape[2], size, device=grids.device).to(grids)
    return torch.einsum("ay,nyxc,bx->nabc", rows, grids, columns)


def _linear_weights(old: int, new: int, *, device: torch.device) -> Tensor:
    """The matrix (new, old) that reads `old` cells linearly at `new` cells."""
    position = normalised_to_index(cell_centres(new, device=device), size=old)
    low = position.floor().clamp(0, old - 2)
    weights = torch.zeros(new, old, device=device)
    rows = torch.arange(new, device=device)
    weights[rows, low.long()] = 1 - (position - low)
    weights[rows, low.long() + 1] = position - low
    return weights
