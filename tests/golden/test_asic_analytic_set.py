"""The set S8 of the published measurements: its pixels and matches are what they were measured on."""

import numpy as np
import pytest

from workers.evaluation.analytic_set import AnalyticSet, analytic_set, hashed


@pytest.fixture(scope="module")
def drawn() -> AnalyticSet:
    return analytic_set()


def test_numbers_that_look_random() -> None:
    np.testing.assert_allclose(hashed(4, 0), [-0.1364197652, 0.3319404228, -0.4415589857, -0.3129216954], atol=1e-10)
    np.testing.assert_allclose(hashed(3, 7), [-0.1128157379, 0.0629314531, -0.1961149576], atol=1e-10)


def test_pictures(drawn: AnalyticSet) -> None:
    assert drawn.masks.sum(axis=(1, 2)).tolist() == [1207, 2316, 1841, 1326, 2659, 1495, 1489, 2572]
    np.testing.assert_allclose(drawn.canonical[2, 20, 30], [-0.0710120, -0.2780718], atol=1e-7)
    np.testing.assert_allclose(drawn.pictures[1, 32, 32], [-0.0843371, 0.8279787, 0.4274098], atol=1e-7)
    assert drawn.keypoints[0, :4].tolist() == [[25, 22], [33, 22], [41, 22], [48, 23]]


def test_matches(drawn: AnalyticSet) -> None:
    matches = drawn.matches(0.2)
    counts = [len(pair.true) for pair in matches.values()]
    assert (len(counts), min(counts), max(counts)) == (28, 75, 163)
    first = matches[0, 1]
    assert first.first_px[:3].tolist() == [[30, 18], [34, 18], [38, 18]]
    assert first.second_px[:3].tolist() == [[21, 15], [26, 13], [43, 46]]
    assert first.true[:3].tolist() == [True, True, False]
