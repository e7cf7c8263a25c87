"""Figures of a set so small that they are computed by hand."""

import json
from collections.abc import Sequence

import numpy as np
import pytest

from alignment.geometry_aware import geometry_aware
from alignment.keypoint_report import ScoredPair, keypoint_report

ALPHAS = [0.1, 0.05]
EARS = [(0, 1)]


def pair(
    errors: Sequence[float],
    source: Sequence[int] = (1, 1, 1),
    target: Sequence[int] = (1, 1, 1),
    *,
    category: str = "",
    gap: int | None = None,
) -> ScoredPair:
    """Errors of both ears and the nose; those not visible in both images fall out."""
    seen = np.array(source, dtype=bool), np.array(target, dtype=bool)
    both = seen[0] & seen[1]
    return ScoredPair(np.array(errors, dtype=float)[both], geometry_aware(*seen, EARS)[both], category, gap)


def tiny() -> list[ScoredPair]:
    return [
        # Right at 0.1: the first and the nose, as 0.1 itself is wrong; at 0.05 the nose. Both ears are geometry-aware.
        pair([0.09, 0.1, 0.01], category="cat", gap=0),
        # The second ear cannot be seen in the source, but rivals the first in the target. The nose is hidden.
        pair([0.04, 0.0, 0.0], source=(1, 0, 1), target=(1, 1, 0), category="cat", gap=2),
        # Only one ear is visible in the target, so no point is geometry-aware. The nose was not predicted.
        pair([0.02, 0.0, np.inf], target=(1, 0, 1), category="dog", gap=2),
        # Nothing is visible in both images.
        pair([0.0, 0.0, 0.0], source=(1, 0, 0), target=(0, 1, 1), category="dog", gap=4),
    ]


def test_all_points() -> None:
    standard = keypoint_report(tiny(), ALPHAS).standard
    assert (standard.pairs, standard.points) == (3, 6)
    assert [score.alpha for score in standard.scores] == ALPHAS
    # By pair: 2 of 3, 1 of 1, 1 of 2; then 1 of 3, 1 of 1, 1 of 2.
    assert [score.per_point for score in standard.scores] == pytest.approx([4 / 6, 3 / 6])
    assert [score.per_image for score in standard.scores] == pytest.approx([(2 / 3 + 1 + 1 / 2) / 3, 11 / 18])


def test_geometry_aware_points() -> None:
    aware = keypoint_report(tiny(), ALPHAS).geometry_aware
    assert (aware.pairs, aware.points) == (2, 3)
    # By pair: 1 of 2, 1 of 1; then none of 2, 1 of 1.
    assert [score.per_point for score in aware.scores] == pytest.approx([2 / 3, 1 / 3])
    assert [score.per_image for score in aware.scores] == pytest.approx([3 / 4, 1 / 2])


def test_categories_are_scored_alone() -> None:
    categories = keypoint_report([*tiny(), pair([0.3, 0.3, 0.3])], ALPHAS).categories
    assert list(categories) == ["cat", "dog"]
    assert [score.per_point for score in categories["cat"].standard.scores] == pytest.approx([3 / 4, 2 / 4])
    assert [score.per_image for score in categories["cat"].standard.scores] == pytest.approx([5 / 6, 2 / 3])
    assert (categories["dog"].standard.pairs, categories["dog"].standard.points) == (1, 2)
    assert (categories["dog"].geometry_aware.points, categories["dog"].geometry_aware.scores[0].per_point) == (0, None)


def test_azimuth_gaps_and_what_the_worst_one_loses() -> None:
    report = keypoint_report(tiny(), ALPHAS)
    assert report.azimuth is not None
    assert [(each.gap, each.pairs, each.points) for each in report.azimuth.bins] == [
        (0, 1, 3),
        (1, 0, 0),
        (2, 2, 3),
        (3, 0, 0),
        (4, 0, 0),
    ]
    assert report.azimuth.bins[0].per_point == pytest.approx((2 / 3, 1 / 3))
    assert report.azimuth.bins[1].per_point == (None, None)
    assert report.azimuth.bins[2].per_point == pytest.approx((2 / 3, 2 / 3))
    assert report.azimuth.sensitivity == pytest.approx((0.0, 0.5))
    dog = report.categories["dog"].azimuth
    assert dog is not None
    assert dog.sensitivity == (None, None)


def test_sensitivity_needs_two_gaps_and_something_right() -> None:
    wrong = keypoint_report([pair([0.5, 0.5, 0.5], gap=gap) for gap in (0, 3)], ALPHAS).azimuth
    assert wrong is not None
    assert wrong.sensitivity == (None, None)
    lost = keypoint_report([pair([0.0, 0.0, 0.0], gap=0), pair([0.5, 0.5, 0.5], gap=1)], ALPHAS).azimuth
    assert lost is not None
    assert lost.sensitivity == (1.0, 1.0)
    hidden = keypoint_report([pair([0.0, 0.0, 0.0], source=(0, 0, 0), gap=3)], ALPHAS).azimuth
    assert hidden is not None
    assert hidden.sensitivity == (None, None)
    assert keypoint_report([pair([0.0, 0.0, 0.0])], ALPHAS).azimuth is None


def test_a_point_exactly_at_alpha_is_right_only_where_that_is_asked_for() -> None:
    at_limit = [pair([0.1, 0.05, 0.0])]
    assert [score.per_point for score in keypoint_report(at_limit, ALPHAS).standard.scores] == pytest.approx(
        [2 / 3, 1 / 3]
    )
    inclusive = keypoint_report(at_limit, ALPHAS, inclusive=True).standard
    assert [score.per_point for score in inclusive.scores] == pytest.approx([1.0, 2 / 3])


def test_the_report_is_plain_json() -> None:
    shown = keypoint_report(tiny(), ALPHAS).as_json()
    assert json.loads(json.dumps(shown, allow_nan=False)) == shown
    assert shown["standard"] == {
        "pairs": 3,
        "points": 6,
        "pck": [
            {"alpha": 0.1, "per_point": 0.66667, "per_image": 0.72222},
            {"alpha": 0.05, "per_point": 0.5, "per_image": 0.61111},
        ],
    }
    assert set(shown) == {"standard", "geometry_aware", "azimuth", "categories"}
    dog = json.loads(json.dumps(shown))["categories"]["dog"]
    assert dog["geometry_aware"]["pck"][0] == {"alpha": 0.1, "per_point": None, "per_image": None}
    assert dog["azimuth"]["bins"][4] == {"gap": 4, "pairs": 0, "points": 0, "per_point": [None, None]}
    assert dog["azimuth"]["sensitivity"] == [None, None]


def test_nothing_at_all_is_no_fault() -> None:
    shown = keypoint_report([], ALPHAS).as_json()
    empty = {"pairs": 0, "points": 0, "pck": [{"alpha": a, "per_point": None, "per_image": None} for a in ALPHAS]}
    assert shown == {"standard": empty, "geometry_aware": empty, "azimuth": None, "categories": {}}


def test_pairs_that_do_not_fit_are_refused() -> None:
    with pytest.raises(ValueError, match=r"errors \(2,\) and geometry_aware \(3,\)"):
        ScoredPair(np.zeros(2), np.zeros(3, dtype=bool))
    with pytest.raises(ValueError, match="azimuth_gap is 5; it must be 0 to 4"):
        ScoredPair(np.zeros(2), np.zeros(2, dtype=bool), azimuth_gap=5)
