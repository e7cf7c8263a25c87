"""Joint splines on the set S8, scored as ASIC's measurements are: whole pixels, thresholds of the picture's side."""

from itertools import permutations

import numpy as np
import numpy.typing as npt
import pytest
import torch
from torch import Tensor

from workers.evaluation.analytic_matches import paired_points
from workers.evaluation.analytic_set import AnalyticSet, analytic_set
from workers.geometry.flows import evaluate_flow
from workers.geometry.joint_splines import fit_joint_splines

SIZE = 64
ALPHAS = np.array([0.1, 0.05, 0.02])


@pytest.fixture(scope="module")
def drawn() -> AnalyticSet:
    return analytic_set(SIZE)


def scores(drawn: AnalyticSet, plane: Tensor) -> list[float]:
    """PCK in percent of maps (N, S, S, 2): keypoints go to the pixels of the object that are nearest in the plane."""
    errors = []
    for i, j in permutations(range(len(plane)), 2):
        column, row = drawn.keypoints[i].T
        rows, columns = np.nonzero(drawn.masks[j])
        nearest = torch.cdist(plane[i, row, column], plane[j, rows, columns]).argmin(dim=1)
        found = np.stack([columns[nearest], rows[nearest]], axis=1)
        errors.append(np.linalg.norm(found - drawn.keypoints[j], axis=1) / SIZE)
    share: npt.NDArray[np.float64] = (np.concatenate(errors)[:, None] <= ALPHAS).mean(axis=0)
    return (100 * share).round(1).tolist()


def test_true_maps_score_what_was_published(drawn: AnalyticSet) -> None:
    assert scores(drawn, torch.from_numpy(drawn.canonical)) == [100.0, 100.0, 91.9]


@pytest.mark.parametrize(("outliers", "least"), [(0.2, 91), (0.6, 90), (0.8, 88)])
def test_matches_alone_give_the_maps(drawn: AnalyticSet, outliers: float, least: float) -> None:
    axis = 2 * (torch.arange(SIZE, dtype=torch.float64) + 0.5) / SIZE - 1
    y, x = torch.meshgrid(axis, axis, indexing="ij")
    fitted = fit_joint_splines(paired_points(drawn, outliers), len(drawn.masks))
    plane = evaluate_flow(fitted.controls, torch.stack([x, y], dim=-1).flatten(0, 1)).view(-1, SIZE, SIZE, 2)
    coarse, middle, fine = scores(drawn, plane)
    assert (coarse, middle) == (100, 100)
    assert fine >= least
