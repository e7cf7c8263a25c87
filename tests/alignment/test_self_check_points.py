"""What a result says of itself where it knows single points, or maps that lead one way only."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from alignment.pairwise import PairwiseMaps
from alignment.self_check import self_check
from tests.alignment.builders import affine_pairs, queried_points

NOTHING = {"coverage": None, "fold_over": None, "cycle_error": None, "cycle_consistent": None}


def check_of(form: PairwiseMaps) -> Any:
    return self_check(form)


def only(form: PairwiseMaps, *pairs: tuple[int, int]) -> PairwiseMaps:
    """The maps of some pairs."""
    return replace(
        form,
        maps={pair: form.maps[pair] for pair in pairs},
        confidence={pair: form.confidence[pair] for pair in pairs},
    )


def test_points_that_come_back_close_their_cycle() -> None:
    check = check_of(queried_points())
    first, second, third = check["images"]
    assert first == {
        "coverage": pytest.approx((1 + 0.75) / 2),
        "fold_over": None,
        "cycle_error": pytest.approx(0, abs=1e-4),
        "cycle_consistent": 1,
    }
    assert (second["coverage"], second["cycle_consistent"]) == (1, 1)
    assert third == NOTHING
    assert check["coverage"] == pytest.approx((0.875 + 1) / 2)
    assert (check["fold_over"], check["cycle_consistent"]) == (None, 1)
    assert check["warnings"] == []


def test_points_that_come_back_elsewhere_are_measured_from_where_they_began() -> None:
    form = queried_points()
    back = form.points[1, 0].copy()
    back[0, 2] += 16
    back[1, 2:4] = np.nan
    row = check_of(replace(form, points={(0, 1): form.points[0, 1], (1, 0): back[::-1]}))["images"][0]
    assert row["cycle_error"] == pytest.approx((0 + 16 / 64) / 2, abs=1e-4)
    assert row["cycle_consistent"] == pytest.approx(0.5)


def test_only_points_that_were_looked_for_again_count_for_the_cycle() -> None:
    form = queried_points()
    some = {**form.points, (1, 0): form.points[1, 0][:1]}
    row = check_of(replace(form, points=some))["images"][0]
    assert (row["cycle_consistent"], row["coverage"]) == (1, pytest.approx(0.875))
    elsewhere = {**form.points, (1, 0): form.points[1, 0] + 1}
    assert check_of(replace(form, points=elsewhere))["images"][0]["cycle_error"] is None


def test_without_a_way_back_the_cycle_is_unknown() -> None:
    check = check_of(replace(queried_points(), points={(0, 2): queried_points().points[0, 2]}))
    assert check["images"] == [NOTHING | {"coverage": 0.75}, NOTHING, NOTHING]
    assert {name: check[name] for name in NOTHING} == NOTHING | {"coverage": 0.75}
    assert check["warnings"] == []


def test_points_that_were_hardly_found_are_told() -> None:
    rows = queried_points().points[0, 2].copy()
    rows[:, 2:4] = np.nan
    check = check_of(replace(queried_points(), points={(0, 2): rows}))
    assert check["warnings"] == ["image 0: only 0% of its points were found inside the frame"]


def test_maps_that_lead_one_way_are_measured_without_a_cycle() -> None:
    whole = affine_pairs()
    check = check_of(only(whole, (0, 1), (0, 2)))
    first, *others = check["images"]
    assert 0.5 < first["coverage"] <= 1
    assert (first["fold_over"], first["cycle_error"], first["cycle_consistent"]) == (0, None, None)
    assert others == [NOTHING, NOTHING]
    assert (check["coverage"], check["fold_over"]) == (first["coverage"], 0)
    assert check["cycle_error"] is None
    assert check["warnings"] == []


def test_a_one_way_map_that_folds_is_told() -> None:
    form = only(affine_pairs(), (0, 1))
    form.maps[0, 1][:] = 7
    assert check_of(form)["warnings"] == ["image 0: 100% of its map folds over"]


def test_where_maps_lead_both_ways_an_image_without_a_way_back_is_the_worst() -> None:
    worst = {"coverage": 0, "fold_over": 0, "cycle_error": 1, "cycle_consistent": 0}
    check = check_of(only(affine_pairs(), (0, 1), (1, 0), (0, 2)))
    assert check["images"][2] == worst
    assert check["images"][0]["cycle_consistent"] == 1
    assert check["cycle_consistent"] == pytest.approx(2 / 3, abs=1e-4)
    assert check_of(only(affine_pairs()))["images"] == [worst] * 3


def test_points_of_a_way_back_close_the_cycle_of_one_way_maps() -> None:
    points = queried_points()
    form = replace(only(affine_pairs(), (0, 1)), points=points.points)
    first = check_of(form)["images"][0]
    assert first["cycle_consistent"] == check_of(points)["images"][0]["cycle_consistent"]
    assert first["fold_over"] is not None


def test_maps_made_of_points_do_not_vouch_for_themselves() -> None:
    points = queried_points()
    form = replace(only(affine_pairs(), (0, 1), (1, 0)), points={(0, 1): points.points[0, 1]})
    assert [row["cycle_consistent"] for row in check_of(form)["images"][:2]] == [None, None]


def test_warnings_of_the_method_come_first() -> None:
    check: Any = self_check(queried_points(), warnings=["2 of 3 points were not learnt"])
    assert check["warnings"][0] == "2 of 3 points were not learnt"
