"""What a user reads of single images; see also `test_scores`."""

import pytest

from alignment.self_check import self_check
from tests.alignment.builders import SIZES, affine_atlas

NAMES = [f"cat-{index}.jpg" for index in range(len(SIZES))]


def test_scores_and_flags_stand_with_the_images() -> None:
    check = self_check(affine_atlas(), alignment_scores=[1.0, 0.2, 0.9], outliers=[1], names=NAMES)
    assert check["alignment_score"] == pytest.approx(0.7)
    images = check["images"]
    assert isinstance(images, list)
    assert [(row["alignment_score"], row["outlier"]) for row in images] == [  # type: ignore[index,call-overload]
        (1.0, False),
        (0.2, True),
        (0.9, False),
    ]


def test_warnings_call_images_by_name() -> None:
    warnings = self_check(affine_atlas(), alignment_scores=[1.0, 0.2, 0.9], outliers=[1], names=NAMES)["warnings"]
    assert warnings == [
        "image 1 (cat-1.jpg): agrees far less with the others than they do; it may not belong to the set"
    ]


def test_a_set_that_hardly_agrees_is_called_so() -> None:
    warnings = self_check(affine_atlas(), alignment_scores=[0.4, 0.3, 0.2], names=NAMES)["warnings"]
    assert warnings == ["the images hardly agree (mean alignment score 0.30); do not trust their maps"]


def test_without_scores_nothing_is_flagged() -> None:
    check = self_check(affine_atlas(), names=NAMES)
    assert "alignment_score" not in check
    assert all("outlier" not in row for row in check["images"])  # type: ignore[union-attr,operator]
    assert check["warnings"] == []


def test_scores_for_some_images_only_are_refused() -> None:
    with pytest.raises(ValueError, match="zip"):
        self_check(affine_atlas(), alignment_scores=[1.0])


def test_consistency_stands_with_the_set_and_the_images() -> None:
    check = self_check(affine_atlas(), consistency=[1.0, 0.24, 0.98], names=NAMES)
    assert check["consistency"] == pytest.approx(0.74)
    assert [row["consistency"] for row in check["images"]] == [1.0, 0.24, 0.98]  # type: ignore[union-attr,index,call-overload]
    assert check["warnings"] == ["image 1 (cat-1.jpg): its map explains only 24% of its matches"]


def test_maps_that_ignore_the_matches_are_not_to_be_trusted() -> None:
    check = self_check(affine_atlas(), consistency=[0.5, 0.45, 0.4], names=NAMES)
    assert check["warnings"] == [
        "the maps explain only 45% of the matches that pairs of images agree on; do not trust them"
    ]
    assert self_check(affine_atlas(), consistency=[0.5] * 3)["warnings"] == []
    assert "consistency" not in self_check(affine_atlas())
