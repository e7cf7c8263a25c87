"""Maps to the canonical plane from matches, on the analytic set."""

from dataclasses import replace
from functools import cache

import numpy as np
import pytest
import torch
from torch import Tensor

from tests.workers.methods.analytic import SIZE, flags, paired, truth
from workers.evaluation.analytic_set import IMAGES
from workers.geometry.coordinates import identity_grid
from workers.geometry.flows import identity_controls
from workers.geometry.inversion import jacobian_determinant
from workers.geometry.joint_splines import JointOptions, PairedPoints
from workers.methods.asic.alignment import (
    AlignOptions,
    NoMatchesError,
    SplineAlignment,
    agreement,
    align,
    evaluate_pairs,
    expected_ticks,
    fit_matches,
)
from workers.methods.asic.canonical_maps import spline_places
from workers.methods.asic.matching import Cells, cells_of, chosen_pairs
from workers.methods.asic.outcome.evidence import consistency, match_counts
from workers.methods.asic.support import weighted_by_support
from workers.methods.asic.trained import agreement_of_places

QUICK = JointOptions(controls=6, rounds=12)
IDENTITY = identity_controls(6)
WRONG = 0.4


@cache
def fitted() -> SplineAlignment:
    return fit_matches(paired(WRONG), IMAGES, QUICK)


def keypoint_gaps(places: Tensor) -> Tensor:
    """Mean distance (N, N) in the plane of the same keypoints of two pictures with these places (N, S, S, 2)."""
    rows = [own[px[:, 1], px[:, 0]] for own, px in zip(places, torch.from_numpy(truth().keypoints), strict=True)]
    points = torch.stack(rows)
    return (points.unsqueeze(0) - points.unsqueeze(1)).norm(dim=3).mean(dim=2)


def test_the_same_keypoints_come_together() -> None:
    unaligned = keypoint_gaps(identity_grid(SIZE, SIZE).expand(IMAGES, -1, -1, -1))
    gaps = keypoint_gaps(spline_places(fitted().controls, SIZE))
    assert gaps.max() < 0.04
    assert unaligned[~torch.eye(IMAGES, dtype=torch.bool)].min() > 0.1


def test_order_of_pictures_and_pairs_does_not_matter() -> None:
    generator, matches = torch.Generator().manual_seed(0), paired(WRONG)
    order, rows = torch.randperm(IMAGES, generator=generator), torch.randperm(28, generator=generator)
    number = order.argsort()
    other = PairedPoints(
        number[matches.second[rows]],
        number[matches.first[rows]],
        matches.second_points[rows],
        matches.first_points[rows],
        matches.weights[rows],
    )
    found = fit_matches(other, IMAGES, QUICK)
    torch.testing.assert_close(found.controls[number], fitted().controls, atol=1e-6, rtol=0)


def test_fixed_pictures_stay_and_the_others_come_to_them() -> None:
    old, matches = flags(0, 3), paired(WRONG)
    plane = fitted().controls
    first, second = (
        torch.where(old[of].view(-1, 1, 1), evaluate_pairs(plane, of, points).float(), points)
        for of, points in ((matches.first, matches.first_points), (matches.second, matches.second_points))
    )
    between = old[matches.first] != old[matches.second]
    shown = replace(matches, first_points=first, second_points=second, weights=matches.weights * between.unsqueeze(1))
    found = fit_matches(shown, IMAGES, QUICK, fixed=old)
    torch.testing.assert_close(found.controls[old], IDENTITY.expand(2, -1, -1, -1), atol=1e-4, rtol=0)
    places = torch.where(old.view(-1, 1, 1, 1), spline_places(plane, SIZE), spline_places(found.controls, SIZE))
    assert keypoint_gaps(places).max() < 0.05


def test_a_picture_without_matches_keeps_its_place() -> None:
    matches = paired(WRONG)
    apart = (matches.first != 5) & (matches.second != 5)
    found = fit_matches(replace(matches, weights=matches.weights * apart.unsqueeze(1)), IMAGES, QUICK)
    torch.testing.assert_close(found.controls[5], IDENTITY, atol=1e-9, rtol=0)
    assert (found.controls[4] - IDENTITY).abs().max() > 0.1


def content(*mirrored: int, count: int = 5) -> tuple[Cells, Cells]:
    """Cells of some pictures, as they are and mirrored, whose features tell the place on the object."""
    generator = torch.Generator().manual_seed(0)
    waves, phases = 3 * torch.randn(32, 2, generator=generator), 6.28 * torch.rand(32, 1, 1, generator=generator)
    canonical = torch.from_numpy(truth().canonical[:count]).float()
    features = torch.cos(torch.einsum("nyxc,kc->nkyx", canonical, waves) + phases)
    masks = torch.from_numpy(truth().masks[:count]).float().unsqueeze(1)
    turned = flags(*mirrored)[:count].view(-1, 1, 1, 1)
    features, masks = (torch.where(turned, maps.flip(-1), maps) for maps in (features, masks))
    return cells_of(features, masks, 32), cells_of(features.flip(-1), masks.flip(-1), 32)


@pytest.mark.parametrize("mirrored", [(), (1, 3)])
def test_mirrored_pictures_are_mirrored_back_though_splines_could_do_so(mirrored: tuple[int, ...]) -> None:
    found = align(*content(*mirrored), chosen_pairs(5, 20, 0), AlignOptions(100, splines=QUICK))
    assert torch.equal(found.mirrored, flags(*mirrored)[:5])
    assert found.trust.sum() > 0.9 * found.matches.weights.sum()
    assert jacobian_determinant(spline_places(found.controls, 32)).min() > 0


def test_without_mirrored_cells_nothing_is_mirrored_and_without_any_match_nothing_is_found() -> None:
    upright, _ = content(1)
    assert not align(upright, None, [(0, 1), (1, 2)], AlignOptions(50, splines=QUICK)).mirrored.any()
    empty = Cells(tuple(rows[:0] for rows in upright.features), tuple(rows[:0] for rows in upright.places))
    with pytest.raises(NoMatchesError, match="no two images have a single match"):
        align(empty, None, [(0, 1)], AlignOptions())


@pytest.mark.parametrize(("mirrored", "flips"), [((1, 3), True), ((), False)])
def test_ticks_are_known_beforehand(mirrored: tuple[int, ...], flips: bool) -> None:
    upright, turned = content(*mirrored)
    ticks: list[None] = []
    options, pairs = AlignOptions(100, splines=QUICK), chosen_pairs(5, 20, 0)
    align(upright, turned if flips else None, pairs, options, tick=lambda: ticks.append(None))
    assert len(ticks) == expected_ticks(len(pairs), options, flips=flips)


def test_support_is_counted_in_cells_and_smoothed() -> None:
    matches, cells = paired(WRONG), 8
    weighted = weighted_by_support(matches, fitted().trust, IMAGES, cells)
    support = np.zeros((IMAGES, cells, cells))
    ends = [(matches.first, matches.first_points), (matches.second, matches.second_points)]
    places = [np.clip((points.numpy() + 1) / 2 * cells, 0, cells - 1).astype(int) for _, points in ends]
    for (of, _), cell in zip(ends, places, strict=True):
        for pair, slot in (matches.weights > 0).nonzero().tolist():
            column, row = cell[pair, slot]
            support[of[pair], row, column] += fitted().trust[pair, slot]
    smooth = np.zeros_like(support)
    for row in range(cells):
        for column in range(cells):
            around = support[:, max(row - 1, 0) : row + 2, max(column - 1, 0) : column + 2]
            smooth[:, row, column] = around.mean(axis=(1, 2))
    smooth /= smooth.max(axis=(1, 2), keepdims=True)
    for pair, slot in [(0, 0), (3, 20), (13, 5), (27, 40)]:
        wanted = 1.0
        for (of, _), cell in zip(ends, places, strict=True):
            column, row = cell[pair, slot]
            wanted *= smooth[of[pair], row, column]
        assert float(weighted.weights[pair, slot]) == pytest.approx(wanted, abs=1e-6)
    assert (weighted.weights[matches.weights == 0] == 0).all()


def test_fitted_maps_explain_the_matches_and_others_do_not() -> None:
    matches = paired(WRONG)

    def explained(controls: Tensor) -> Tensor:
        return consistency(matches, agreement(matches, controls), IMAGES)

    assert consistency(matches, fitted().trust, IMAGES).min() > 0.95
    assert explained(IDENTITY.expand(IMAGES, -1, -1, -1)).max() < 0.3
    for seed in range(3):
        order = torch.randperm(IMAGES, generator=torch.Generator().manual_seed(seed))
        assert explained(fitted().controls[order]).mean() < 0.25


def test_a_picture_without_matches_explains_nothing() -> None:
    matches = paired(WRONG)
    apart = (matches.first != 5) & (matches.second != 5)
    alone = replace(matches, weights=matches.weights * apart.unsqueeze(1))
    found = consistency(alone, fitted().trust * apart.unsqueeze(1), IMAGES)
    assert found[5] == 0
    assert found[torch.arange(IMAGES) != 5].min() > 0.95
    counts = match_counts(alone, IMAGES)
    assert counts[5] == 0
    assert counts.sum() == 2 * (alone.weights > 0).sum()


def test_splines_and_their_dense_places_agree_on_the_matches() -> None:
    found = fitted()
    dense = agreement_of_places(found.matches, spline_places(found.controls, 128))
    torch.testing.assert_close(dense.double(), found.trust, atol=0.02, rtol=0)
