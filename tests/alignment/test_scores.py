import dataclasses

import numpy as np
import pytest

from alignment.atlas import Atlas
from alignment.forms import Form
from alignment.pairwise import PairwiseMaps
from alignment.scores import AnnotatedImage, carried_pairs, has_map, pck, side_scores
from alignment.self_check import fold_over, self_check
from tests.alignment.builders import SIZES, TO_IMAGE, affine_atlas, affine_pairs, apply

CANONICAL = np.array([[0.2, 0.3], [0.5, 0.5], [0.9, 0.1], [0.7, 0.8]])


def annotated(shift_px: float = 0.0) -> dict[int, AnnotatedImage]:
    truth = {}
    for index, matrix in enumerate(TO_IMAGE):
        points = apply(matrix, CANONICAL) + ((shift_px, 0.0) if index == 2 else 0.0)
        truth[index] = AnnotatedImage(np.column_stack([points, np.ones(len(points))]), side_px=30.0)
    return truth


def test_exact_maps_score_one_and_the_identity_does_not() -> None:
    report = pck(affine_atlas(), annotated(), [0.1, 0.01])
    assert [score.per_point for score in report.scores] == [1.0, 1.0]
    assert report.scores[1].identity < 0.2
    assert (report.pairs, report.points, report.missing) == (6, 24, 0)
    assert report.median_error_px == pytest.approx(0.0, abs=1e-3)


def test_the_threshold_is_a_share_of_the_side_of_the_target() -> None:
    report = pck(affine_pairs(), annotated(shift_px=1.5), [0.085, 0.045])
    assert report.scores[0].per_point == 1.0
    assert report.scores[1].per_point < 0.7


def test_invisible_and_lost_points() -> None:
    truth = annotated()
    truth[0].keypoints[0, 2] = 0
    truth[1].keypoints[1, :2] = (0.5, 0.5)  # outside the object: no correspondence from there
    report = pck(affine_atlas(), truth, [0.1])
    assert report.points == 24 - 4
    assert report.missing == 2


def without(form: PairwiseMaps, *pairs: tuple[int, int]) -> PairwiseMaps:
    kept = {pair: field for pair, field in form.maps.items() if pair not in pairs}
    return PairwiseMaps(form.images, kept, {pair: form.confidence[pair] for pair in kept})


def test_pairs_without_a_map_are_left_out() -> None:
    partial = without(affine_pairs(), (0, 1), (2, 0))
    assert [has_map(partial, *pair) for pair in ((0, 1), (1, 0), (2, 0), (0, 2))] == [False, True, False, True]
    assert has_map(affine_atlas(), 0, 1)
    report = pck(partial, annotated(), [0.1])
    assert (report.pairs, report.points, report.missing) == (4, 16, 0)
    assert report.scores[0].per_point == report.scores[0].per_pair == 1.0
    assert pck(without(affine_pairs(), *affine_pairs().maps), annotated(), [0.1]).pairs == 0


def test_a_map_that_knows_nothing_of_a_point_still_counts() -> None:
    form = affine_pairs()
    form.maps[0, 1][:] = np.nan
    report = pck(form, annotated(), [0.1])
    assert (report.pairs, report.points, report.missing) == (6, 24, 4)
    assert report.scores[0].per_point == pytest.approx(20 / 24)


def test_pairs_tell_which_keypoints_they_carried_where() -> None:
    truth = annotated()
    truth[0].keypoints[1, 2] = truth[2].keypoints[3, 2] = 0
    [first, second, *_] = carried_pairs(affine_atlas(64), truth)
    assert (first.source, first.target, first.keypoints.tolist()) == (0, 1, [0, 2, 3])
    assert (second.source, second.target, second.keypoints.tolist()) == (0, 2, [0, 2])
    assert second.places == pytest.approx(truth[2].keypoints[[0, 2], :2], abs=1e-3)
    assert second.errors == pytest.approx(np.zeros(2), abs=1e-4)


def sides(form: Form, truth: dict[int, AnnotatedImage]) -> list[tuple[float, float]]:
    pairs = carried_pairs(form, truth)
    return [(score.mirrored, score.own) for score in side_scores(pairs, truth, [1, 0, 2, 3], [0.1])]


def exchanged(truth: dict[int, AnnotatedImage], index: int) -> dict[int, AnnotatedImage]:
    """Give the first two keypoints of one image each other's place."""
    keypoints = truth[index].keypoints[[1, 0, 2, 3]]
    return {**truth, index: dataclasses.replace(truth[index], keypoints=keypoints)}


def test_exact_maps_do_not_confuse_the_sides() -> None:
    assert sides(affine_pairs(), annotated()) == [(0.0, 1.0)]


def test_confused_sides_are_seen() -> None:
    truth = exchanged(annotated(), 1)
    # Four of six pairs start or end in the image whose sides are exchanged.
    assert sides(affine_pairs(), truth) == [(pytest.approx(4 / 6), pytest.approx(2 / 6))]


def test_sides_need_a_partner_that_is_visible_in_the_target() -> None:
    truth = exchanged(annotated(), 1)
    truth[1].keypoints[0, 2] = 0
    # Of the first keypoint nothing is carried to or from image 1; the second has no partner there, but from there.
    assert sides(affine_pairs(), truth) == [(pytest.approx(2 / 6), pytest.approx(4 / 6))]
    for image in truth.values():
        image.keypoints[1, 2] = 0
    assert sides(affine_pairs(), truth) == []
    assert side_scores(carried_pairs(affine_pairs(), truth), truth, [0, 1, 2, 3], [0.1]) == ()


def test_no_common_keypoint_gives_an_empty_report() -> None:
    truth = annotated()
    for image in truth.values():
        image.keypoints[:, 2] = 0
    report = pck(affine_atlas(), truth, [0.1])
    assert (report.points, report.median_error_px, report.scores[0].per_point) == (0, None, 0.0)


def test_a_good_atlas_passes_the_self_check() -> None:
    check = self_check(affine_atlas())
    assert check["cycle_error"] < 1e-3  # type: ignore[operator]
    assert check["fold_over"] == 0
    assert check["cycle_consistent"] == 1
    assert check["coverage"] > 0.8  # type: ignore[operator]
    assert check["warnings"] == []
    assert len(check["images"]) == len(SIZES)  # type: ignore[arg-type]


def test_pairs_pass_the_self_check_too() -> None:
    check = self_check(affine_pairs())
    assert check["fold_over"] == 0
    assert check["cycle_error"] == pytest.approx(0, abs=1e-3)


def test_a_constant_map_is_caught() -> None:
    good = affine_atlas()
    flat = tuple(np.full_like(field, 7.0) for field in good.from_canonical)
    check = self_check(dataclasses.replace(good, from_canonical=flat))
    assert check["fold_over"] == 1
    assert len(check["warnings"]) >= len(SIZES)  # type: ignore[arg-type]


def test_a_shuffled_image_is_named() -> None:
    good: Atlas = affine_atlas()
    noise = np.random.default_rng(0).uniform(0, 1, good.to_canonical[1].shape).astype(np.float32)
    forward = (good.to_canonical[0], noise, good.to_canonical[2])
    warnings = self_check(dataclasses.replace(good, to_canonical=forward))["warnings"]
    assert any(str(warning).startswith("image 1:") for warning in warnings)  # type: ignore[union-attr]
    assert not any(str(warning).startswith("image 0:") for warning in warnings)  # type: ignore[union-attr]


def test_fold_over_of_half_a_mirrored_map() -> None:
    x = np.abs(np.linspace(-1, 1, 21))
    field = np.stack(np.meshgrid(x, np.linspace(0, 1, 21)), axis=-1)
    assert fold_over(field) == pytest.approx(0.5)
    assert fold_over(np.full((4, 4, 2), np.nan)) == 1.0


def test_agreement_and_outliers_are_told() -> None:
    check = self_check(affine_atlas(), agreement=[0.8, 0.1, 0.6], outliers=[1])
    assert check["agreement"] == pytest.approx(0.5)
    assert [row["agreement"] for row in check["images"]] == [0.8, 0.1, 0.6]  # type: ignore[union-attr,index,call-overload]
    assert check["warnings"] == ["image 1: agrees far less with the others than they do; it may not belong to the set"]
