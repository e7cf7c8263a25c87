"""Distances, masks and maps of 3D Congealing (arXiv 2404.02125) on tiny inputs given by formulas."""

import pytest
import torch
from torch import Tensor

from workers.geometry.coordinates import identity_grid
from workers.methods.congealing_3d.maps.distance import (
    distance_map,
    intersection_area,
    mask_loss,
    semantic_distance,
    union_area,
)
from workers.methods.congealing_3d.maps.forward import forward_map
from workers.methods.congealing_3d.maps.reverse import reverse_map
from workers.methods.congealing_3d.maps.warp import Warps

SIZE = 4
WHOLE = torch.tensor([0.0, 0.0, 1.0])
CELL = torch.arange(16, dtype=torch.float64).view(1, 1, SIZE, SIZE)


def features(shift: float, turn: float, level: float) -> Tensor:
    return torch.cat([(CELL + shift).sin(), (2 * CELL + turn).cos(), torch.full_like(CELL, level)], dim=1)


def places() -> Tensor:
    column, row = identity_grid(SIZE, SIZE).unbind(dim=-1)
    return torch.stack([column, row, (1 - 0.25 * (column**2 + row**2)).sqrt()])


def warp() -> Warps:
    y, x = torch.meshgrid(torch.arange(4.0), torch.arange(4.0), indexing="ij")
    whole = torch.ones(1, 1, SIZE, SIZE)
    return Warps(torch.stack([0.1 * (x + y).sin(), 0.1 * (x - y).cos()])[None], whole, whole)


def everywhere() -> Tensor:
    return torch.ones(1, SIZE, SIZE, dtype=torch.bool)


def test_semantic_distances() -> None:
    pair = features(1.0, 0.0, 0.5), features(1.3, 0.4, 0.25)
    distances = distance_map(*pair)[0]
    assert float(semantic_distance(*pair)) == pytest.approx(0.0728402972, abs=1e-9)
    assert float(distances[0, 0]) == pytest.approx(0.0215461354, abs=1e-9)
    assert float(distances[3, 3]) == pytest.approx(0.2388090358, abs=1e-9)


def test_overlap_of_masks() -> None:
    masks = (3 * CELL) % 7 / 6, (5 * CELL) % 8 / 7
    assert float(intersection_area(*masks)) == pytest.approx(4.0952380952, abs=1e-9)
    assert float(union_area(*masks)) == pytest.approx(11.4047619048, abs=1e-9)
    assert float(mask_loss(*masks)) == pytest.approx(0.6409185804, abs=1e-9)


def test_the_forward_map() -> None:
    found = forward_map(warp(), places(), everywhere(), WHOLE, aspect=1.0, rows=SIZE, columns=SIZE).coordinates
    torch.testing.assert_close(found[1, 2], torch.tensor([0.264112, -0.195970, 0.982397]), atol=1e-5, rtol=0)
    expected = torch.tensor([0.002291, 0.021644, 0.919366])
    torch.testing.assert_close(found.mean(dim=(0, 1)), expected, atol=1e-5, rtol=0)


def test_the_reverse_map() -> None:
    found = reverse_map(warp(), places(), everywhere(), torch.tensor([[0.3, -0.2, 0.9]]))
    assert found.rendered.tolist() == [[1, 2]]
    assert found.cells.tolist() == [[1, 2]]
