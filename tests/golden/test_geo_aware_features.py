"""Diffusion features' plumbing against values of the official code of Telling Left from Right (arXiv 2311.17034)."""

import pytest
import torch
from torch.testing import assert_close

from workers.backbones.diffusion.freeu import low_frequencies_scaled
from workers.backbones.diffusion.schedule import alpha_bar, gaussian
from workers.backbones.diffusion.tiling import Tiling

TOLERANCE = 1e-4


def test_fixed_noise_matches() -> None:
    noise = gaussian(1, 4, 64, 64, seed=42)
    expected = torch.tensor([1.926915, 1.487284, 0.900717, -2.105521])
    assert_close(noise.flatten()[:4], expected, atol=1e-6, rtol=0)
    assert float(noise.double().sum()) == pytest.approx(149.7648, abs=TOLERANCE)


def test_alpha_bar_matches() -> None:
    assert alpha_bar(50) == pytest.approx(0.9515769, abs=1e-7)
    assert alpha_bar(50) ** 0.5 == pytest.approx(0.9754880, abs=1e-7)
    assert (1 - alpha_bar(50)) ** 0.5 == pytest.approx(0.2200525, abs=1e-7)
    assert alpha_bar(100) == pytest.approx(0.8942235, abs=1e-7)


@pytest.mark.parametrize(("stride", "overlap"), [(64, {7}), (32, {14, 15}), (16, {28, 29, 30, 31})])
def test_four_tiles_of_960_pixels_meet_as_in_the_official_code(stride: int, overlap: set[int]) -> None:
    tiling = Tiling(960, 960)
    assert tiling.corners == [(0, 0), (0, 448), (448, 0), (448, 448)]
    cells = 512 // stride
    constant = torch.arange(1.0, 5.0).view(4, 1, 1, 1).expand(4, 1, cells, cells)
    merged = tiling.merge(constant, stride)[0, 0]
    row = [1.5 if x in overlap else 1.0 if x < min(overlap) else 2.0 for x in range(960 // stride)]
    assert merged[0].tolist() == row
    assert float(merged[min(overlap), min(overlap)]) == 2.5
    assert merged[-1, -1] == 4


def test_low_frequency_filter_of_freeu_matches() -> None:
    maps = torch.sin(0.1 * torch.arange(64.0)).view(8, 8)
    filtered = low_frequencies_scaled(maps, 0.2)
    first = torch.tensor([-0.108286, 0.009351, 0.090746, 0.145129])
    assert_close(filtered[0, :4], first, atol=TOLERANCE, rtol=0)
    assert float(filtered[5, 3]) == pytest.approx(-0.516640, abs=TOLERANCE)
    assert float(filtered.double().sum()) == pytest.approx(0.0019644, abs=1e-5)
    assert float(filtered.double().sum()) == pytest.approx(0.2 * float(maps.double().sum()), abs=1e-5)
