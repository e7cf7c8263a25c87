"""Framing, scores and blending against values of the official code of ASIC (arXiv 2303.16201)."""

import numpy as np
import pytest
import torch
from torch.testing import assert_close

from workers.evaluation.analytic_set import hashed
from workers.evaluation.official_asic import (
    AnnotatedPair,
    grid_points,
    laplacian_blend,
    padded_points,
    padding,
    pck,
    spair_keypoints,
)
from workers.evaluation.official_edits import splat


def test_points_exactly_at_the_limit_are_wrong() -> None:
    errors = np.array([[0, 5, 25.5, 25.6], [26, 2.5, 2.6, 100], [1, 1, 1, 1]])
    visible = np.array([[1, 1, 1, 1], [1, 1, 1, 0], [0, 0, 1, 1]], dtype=bool)
    assert pck(errors, visible, 256) == pytest.approx([7 / 9] + [6 / 9] * 8 + [4 / 9])
    of_pairs = pck(errors, visible, np.array([100.0, 200.0, 9.0]))
    assert of_pairs == pytest.approx([4 / 9] * 5 + [3 / 9] * 4 + [1 / 9])


@pytest.mark.parametrize(
    ("width", "height", "left_top", "points", "expected"),
    [
        (300, 200, (0, 50), [(10, 20), (299, 199)], [(8.5333, 59.0667), (255.1467, 211.8133)]),
        (200, 301, (50, 0), [(10, 20)], [(51.505, 17.010)]),
        (333, 250, (0, 41), [(0, 0), (1000, 0)], [(0, 32), (768.769, 32)]),
    ],
)
def test_padding(
    width: int,
    height: int,
    left_top: tuple[int, int],
    points: list[tuple[float, float]],
    expected: list[tuple[float, float]],
) -> None:
    assert padding(width, height) == left_top
    assert padded_points(np.array(points, dtype=float), width, height) == pytest.approx(np.array(expected), abs=6e-4)


def test_the_loader_keeps_only_what_the_last_pair_lists() -> None:
    pairs = [
        AnnotatedPair(
            ("A", "B"),
            ((300, 200), (200, 200)),
            ({0: (10, 20), 1: (30, 40), 3: (50, 60)}, {0: (12, 22), 1: (32, 42), 3: (52, 62)}),
            ((0, 0, 100, 50), (10, 10, 60, 150)),
        ),
        AnnotatedPair(
            ("A", "C"),
            ((300, 200), (100, 200)),
            ({3: (50, 60), 4: (70, 80)}, {3: (5, 6), 4: (7, 8)}),
            ((0, 0, 100, 50), (0, 0, 40, 40)),
        ),
    ]
    loaded = spair_keypoints(pairs)
    assert loaded.thresholds == pytest.approx({"A": 85.3333, "B": 179.2, "C": 51.2}, abs=1e-4)
    assert {name: seen.tolist() for name, seen in loaded.visible.items()} == {
        "A": [False, False, True, True],
        "B": [True, True, True, False],
        "C": [False, False, True, True],
    }
    assert loaded.points["A"] == pytest.approx(np.array([(0, 0), (0, 0), (42.667, 93.2), (59.733, 110.267)]), abs=1e-3)
    assert loaded.points["B"][:3] == pytest.approx(np.array([(15.36, 28.16), (40.96, 53.76), (66.56, 79.36)]))
    assert loaded.points["C"][2:] == pytest.approx(np.array([(70.4, 7.68), (72.96, 10.24)]))


def test_grid_points() -> None:
    mask = torch.zeros(8, 8)
    mask[2:6, 2:6] = 1
    points, inside = grid_points(mask, 4)
    assert_close(points[0, :, 0], torch.arange(4, dtype=torch.float64) * 7 / 3)
    expected = torch.zeros(4, 4)
    expected[1:3, 1:3] = 1
    assert_close(inside, expected)
    assert grid_points(mask, 8)[0][-1, -1].tolist() == [7, 7]


def test_splat() -> None:
    colour = np.array([[0.2, 0.5, 0.9]])
    colours, matte = splat(np.array([[4.0, 3.0]]), colour, np.ones(1), (9, 9), sigma_px=1)
    assert colours[3, 4] == pytest.approx(colour[0], abs=1e-6)
    assert matte[3, 4] == pytest.approx(1)
    assert matte[3, 5] == pytest.approx(0.6065307, abs=1e-7)
    assert matte[3, 7] == 0


def test_laplacian_blending() -> None:
    below, above = (torch.from_numpy(hashed(768, seed) * 2).view(1, 3, 16, 16) for seed in (1, 2))
    mask = torch.zeros(1, 1, 16, 16, dtype=torch.float64)
    mask[..., 4:12, 4:12] = 1
    blended = laplacian_blend(below, above, mask)
    assert blended[0, :, 8, 8].tolist() == pytest.approx([0.820842, 0.649195, -0.277240], abs=1e-5)
    assert blended[0, :, 4, 4].tolist() == pytest.approx([-0.333524, 0.332165, -0.131184], abs=1e-5)
    assert float(blended.mean()) == pytest.approx(0.023610, abs=1e-5)
    assert float(blended.std()) == pytest.approx(0.564820, abs=1e-5)
