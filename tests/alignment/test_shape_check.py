"""What a shape says of itself; see also `test_self_check`."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from alignment.self_check import self_check
from alignment.shape import Shape
from tests.alignment.shapes import ball

BALL = ball((0.0, 60.0, 180.0), cells=(75, 100), texels=64)


def check_of(shape: Shape, **options: Any) -> Any:
    return self_check(shape, **options)


def without_pose(shape: Shape) -> Shape:
    nothing = np.full_like(shape.coordinates[2], np.nan)
    return replace(shape, cameras=(*shape.cameras[:2], None), coordinates=(*shape.coordinates[:2], nothing))


def test_a_true_shape_passes() -> None:
    check = check_of(BALL)
    assert check["warnings"] == []
    assert check["fold_over"] == 0
    assert check["cycle_error"] < 0.01
    assert check["cycle_consistent"] == 1
    assert check["lift_error_px"] < 0.1
    assert check["lift_error_p90_px"] < 0.5
    assert check["without_pose"] == []
    assert 0.25 < check["coverage"] < 0.4 < check["surface_seen"] < 0.9
    assert [set(row) for row in check["images"]] == [
        {"coverage", "fold_over", "cycle_error", "cycle_consistent", "lift_error_px", "lift_error_p90_px"}
    ] * 3


def test_images_without_a_pose_are_named_and_count_in_no_mean_of_cycles() -> None:
    check = check_of(without_pose(BALL), names=["a.jpg", "b.jpg", "c.jpg"])
    assert check["without_pose"] == [2]
    assert check["images"][2]["coverage"] == 0
    assert check["images"][2]["cycle_error"] is None
    assert check["cycle_error"] < 0.01
    assert "image 2 (c.jpg): no pose was found; it has no camera and corresponds to nothing" in check["warnings"]


def test_a_shape_seen_from_one_side_is_said_to_be_so() -> None:
    check = check_of(ball((0.0, 10.0), cells=(75, 100), texels=64))
    assert check["surface_seen"] == pytest.approx(0.36, abs=0.05)
    assert check["warnings"] == [
        f"the images show only {check['surface_seen']:.0%} of the surface: no place of the rest is known in any image"
    ]


def test_an_image_that_shows_next_to_nothing_is_named() -> None:
    cut = BALL.coordinates[1].copy()
    cut[:, 50:] = np.nan
    cut[:34] = cut[38:] = np.nan
    check = check_of(replace(BALL, coordinates=(BALL.coordinates[0], cut, BALL.coordinates[2])))
    assert check["images"][1]["coverage"] < 0.05
    [warning] = [warning for warning in check["warnings"] if warning.startswith("image 1:")]
    assert "of the surface" in warning


def test_a_turned_over_map_folds_over() -> None:
    folded = BALL.coordinates[0].copy()
    folded[:, 50:] = folded[:, 49::-1]
    check = check_of(replace(BALL, coordinates=(folded, *BALL.coordinates[1:])))
    assert check["images"][0]["fold_over"] == pytest.approx(0.5, abs=0.05)
    assert any(str(warning).startswith("image 0: ") and "folds over" in warning for warning in check["warnings"])


def test_a_lone_image_has_no_cycles() -> None:
    check = check_of(ball((0.0,), cells=(75, 100), texels=64))
    assert check["cycle_error"] is None
    assert check["lift_error_px"] < 0.1


def test_scores_and_outliers_stand_with_the_images_as_for_other_forms() -> None:
    check = check_of(BALL, alignment_scores=[1.0, 0.2, 0.9], outliers=[1], warnings=["first"])
    assert [row["outlier"] for row in check["images"]] == [False, True, False]
    assert check["warnings"] == [
        "first",
        "image 1: agrees far less with the others than they do; it may not belong to the set",
    ]
