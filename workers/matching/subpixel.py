"""Places between cells for hard matches."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import normalize


def refine_matches(first: Tensor, second_map: Tensor, index: Tensor) -> Tensor:
    """Sub-pixel partners: a parabola through the cosines of the partner's four neighbours, per axis.

    Args:
        first: (P, C) descriptors.
        second_map: (C, h, w) the map in which `index` counts row-major.
        index: (P,) partners, all >= 0.

    Returns:
        (P, 2) cell positions (column, row), within half a cell of the partner's centre.
    """
    channels, height, width = second_map.shape
    table = normalize(second_map.reshape(channels, -1), dim=0)
    unit = normalize(first, dim=1)
    column, row = index % width, index // width

    def cosine(dx: int, dy: int) -> Tensor:
        at = (row + dy).clamp(0, height - 1) * width + (column + dx).clamp(0, width - 1)
        return (unit * table[:, at].T).sum(dim=1)

    centre = cosine(0, 0)
    x = column + _parabola_peak(cosine(-1, 0), centre, cosine(1, 0))
    y = row + _parabola_peak(cosine(0, -1), centre, cosine(0, 1))
    return torch.stack([x, y], dim=1)


def _parabola_peak(before: Tensor, centre: Tensor, after: Tensor) -> Tensor:
    curvature = (2 * centre - before - after).clamp(min=1e-6)
    return ((after - before) / (2 * curvature)).clamp(-0.5, 0.5)
