"""Soft masks of points and their overlap, on values given for 3D Congealing (arXiv 2404.02125)."""

import pytest
import torch

from workers.geometry.cameras import Cameras, focal_of
from workers.methods.congealing_3d.maps.distance import intersection_area, mask_loss, union_area
from workers.rendering.soft_points import soft_point_mask


def test_three_points() -> None:
    camera = Cameras(torch.eye(3).unsqueeze(0), torch.tensor([[0.0, 0.0, 3.0]]), focal_of(torch.tensor([40.0])))
    points = torch.tensor([[0.0, 0.0, 0.0], [0.2, 0.1, 0.0], [-0.1, 0.15, 0.1]])
    mask = soft_point_mask(points, camera, torch.tensor([[0.0, 0.0, 1.0]]), 16, sigma_px=1.0, peak=0.95)[0, 0]
    assert float(mask.sum()) == pytest.approx(14.097076, abs=1e-5)
    assert float(mask.max()) == pytest.approx(0.953370, abs=1e-5)
    assert float(mask[8, 8]) == pytest.approx(0.933421, abs=1e-5)
    assert float(mask[10, 11]) == pytest.approx(0.025237, abs=1e-5)


def test_overlap_of_two_masks() -> None:
    number = torch.arange(16, dtype=torch.float64).view(1, 1, 4, 4)
    first, second = (3 * number) % 7 / 6, (5 * number) % 8 / 7
    assert float(intersection_area(first, second)) == pytest.approx(4.0952380952, abs=1e-9)
    assert float(union_area(first, second)) == pytest.approx(11.4047619048, abs=1e-9)
    assert float(mask_loss(first, second)) == pytest.approx(0.6409185804, abs=1e-9)
