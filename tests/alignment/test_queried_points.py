"""Results that know single points: what is carried, kept, scored and refused."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

from alignment.cycles import cycle_pck
from alignment.dense import map_between
from alignment.edits import propagate
from alignment.layers import Layer
from alignment.pairwise import NEAR, PairwiseMaps, PointsOnlyError
from alignment.queried_points import nearest_rows
from alignment.sampling import ImageSize
from alignment.scores import AnnotatedImage, carried_pairs, has_map, pck
from alignment.storage_format import read_form, write_form
from api_schemas.manifest import ArtifactKind
from tests.alignment.builders import QUERIED, TO_IMAGE, affine_pairs, apply, queried_points
from tests.alignment.test_storage_format import manifest_of


def queries() -> npt.NDArray[np.float64]:
    """The queried points in the first image."""
    return apply(TO_IMAGE[0], QUERIED)


def truth(extra: npt.NDArray[np.float64] | None = None) -> dict[int, AnnotatedImage]:
    """The queried points as keypoints of all images, and canonical places that were not asked for."""
    places = QUERIED if extra is None else np.concatenate([QUERIED, extra])
    return {
        index: AnnotatedImage(np.column_stack([apply(matrix, places), np.ones(len(places))]), side_px=30.0)
        for index, matrix in enumerate(TO_IMAGE)
    }


def test_a_pair_has_points_without_having_a_map() -> None:
    form = queried_points()
    assert [form.has(*pair) for pair in ((0, 1), (1, 0), (0, 2), (2, 0), (1, 1))] == [True, True, True, False, True]
    assert not form.has_map(0, 1)
    assert has_map(form, 0, 1)
    empty = replace(form, points={(0, 1): np.zeros((0, 5), dtype=np.float32)})
    assert not empty.has(0, 1)
    assert not empty.is_points_only(0, 1)


def test_a_point_takes_the_place_of_the_queried_one_that_is_near() -> None:
    form, reach = queried_points(), NEAR * 64
    for way in np.array([[0.99 * reach, 0.0], [0.0, -0.99 * reach]]):
        answer = form.transfer(queries() + way, source=0, target=1)
        np.testing.assert_array_equal(answer.points, form.points[0, 1][:, 2:4])
        assert answer.confidence == pytest.approx([0.9, 0.8, 0.7, 0.6])
        assert answer.inside.all()
    beyond = form.transfer(queries() + np.array([1.01 * reach, 0.0]), source=0, target=1)
    assert np.isnan(beyond.points).all()
    assert not beyond.confidence.any()
    assert not beyond.inside.any()


def test_a_queried_point_that_was_not_found_has_no_place() -> None:
    form = queried_points()
    answer = form.transfer(queries(), source=0, target=2)
    assert np.isfinite(answer.points[:3]).all()
    assert np.isnan(answer.points[3]).all()
    assert answer.confidence[3] == 0
    assert form.was_asked(queries(), source=0, target=2).all()
    assert not form.was_asked(queries() + 1, source=0, target=2).any()
    assert not form.was_asked(queries(), source=2, target=0).any()


def test_the_nearest_of_several_queried_points_counts() -> None:
    rows = np.array([[10, 10, 1, 1, 1], [10.5, 10, 2, 2, 1], [np.nan, np.nan, 3, 3, 1], [10.5, 10, 4, 4, 1]], "f4")
    asked = np.array([[10.2, 10], [10.3, 10], [12, 10], [np.nan, 10], [10.5, 10.5]])
    assert nearest_rows(asked, rows, reach=0.5).tolist() == [0, 1, -1, -1, 1]
    assert nearest_rows(asked, rows[:0], reach=9).tolist() == [-1] * 5


def test_many_points_are_looked_up_block_by_block() -> None:
    draw = np.random.default_rng(0)
    rows = np.column_stack([draw.uniform(0, 100, (2000, 2)), np.zeros((2000, 3))]).astype(np.float32)
    asked = draw.uniform(0, 100, (1500, 2))
    found = nearest_rows(asked, rows, reach=1.0)
    for index in (0, 523, 524, 525, 1499):
        distances = np.linalg.norm(rows[:, :2] - asked[index], axis=1)
        assert found[index] == (distances.argmin() if distances.min() <= 1 else -1)
    assert (found >= 0).any()
    assert (found < 0).any()


def test_beside_a_map_queried_points_speak_for_their_own_pixel() -> None:
    whole = affine_pairs()
    rows = np.array([[20, 20, 3, 4, 1]], dtype=np.float32)
    both = replace(whole, points={(0, 1): rows})
    asked = np.array([[20.0, 20.4], [20.0, 20.6]])
    answer = both.transfer(asked, source=0, target=1)
    assert answer.points[0].tolist() == [3, 4]
    np.testing.assert_array_equal(answer.points[1], whole.transfer(asked, source=0, target=1).points[1])
    assert answer.confidence == pytest.approx([1.0, 0.5])
    assert both.was_asked(asked + 9, source=0, target=1).all()
    assert np.array_equal(map_between(both, source=0, target=1).places, whole.maps[0, 1])


def test_points_read_back_are_those_that_were_written(tmp_path: Path) -> None:
    form = queried_points()
    drafts = write_form(form, tmp_path)
    assert [(draft.name, draft.kind, draft.images) for draft in drafts] == [
        ("maps/points/000.safetensors", ArtifactKind.PAIR_POINTS, [0]),
        ("maps/points/001.safetensors", ArtifactKind.PAIR_POINTS, [1]),
    ]
    points, pair = drafts[0].tensors
    assert (points.name, points.dtype, points.shape, len(points.axes)) == ("points", "F32", [8, 5], 2)
    assert points.missing == "NaN where the point was not found"
    assert (pair.name, pair.dtype, pair.shape, pair.missing) == ("pair", "I16", [8], None)
    again = read_form(manifest_of(form, drafts), lambda name: tmp_path / name)
    assert isinstance(again, PairwiseMaps)
    assert not again.maps
    assert again.points.keys() == form.points.keys()
    for key, rows in form.points.items():
        assert isinstance(again.points[key], np.memmap)
        np.testing.assert_array_equal(again.points[key], rows)


def test_maps_and_points_are_kept_beside_each_other(tmp_path: Path) -> None:
    form = replace(affine_pairs(), points={(0, 2): queried_points().points[0, 2]})
    drafts = write_form(form, tmp_path)
    assert sorted(draft.kind for draft in drafts) == [*["pair_maps"] * 3, "pair_points"]
    again = read_form(manifest_of(form, drafts), lambda name: tmp_path / name)
    assert isinstance(again, PairwiseMaps)
    assert again.maps.keys() == form.maps.keys()
    assert again.points.keys() == {(0, 2)}


def test_what_needs_a_map_is_refused_where_there_are_points_only() -> None:
    form = queried_points()
    for source, target in ((0, 1), (2, 0), (1, 2)):
        with pytest.raises(PointsOnlyError, match="a grid"):
            map_between(form, source=source, target=target)
    assert np.isfinite(map_between(form, source=2, target=2, shape=(4, 4)).places).all()
    layer = Layer(np.full((48, 64, 4), 255, dtype=np.uint8))
    with pytest.raises(PointsOnlyError, match="from image 1 to image 0"):
        propagate(form, layer, source=0, target=1, size=ImageSize(10, 16))


def test_a_pair_without_anything_beside_maps_is_empty_and_not_refused() -> None:
    whole = affine_pairs()
    some = replace(whole, maps={(0, 1): whole.maps[0, 1]}, points={(1, 2): queried_points().points[0, 2]})
    assert [some.is_points_only(*pair) for pair in ((0, 1), (1, 2), (2, 0), (2, 2))] == [False, True, False, False]
    assert np.isnan(map_between(some, source=2, target=0).places).all()


def test_keypoints_that_were_never_asked_for_do_not_count() -> None:
    known = truth(extra=np.array([[0.35, 0.6]]))
    pairs = carried_pairs(queried_points(), known)
    assert [(pair.source, pair.target, pair.keypoints.tolist()) for pair in pairs] == [
        (0, 1, [0, 1, 2, 3]),
        (0, 2, [0, 1, 2, 3]),
        (1, 0, [0, 1, 2, 3]),
    ]
    report = pck(queried_points(), known, [0.1])
    assert (report.pairs, report.points, report.missing) == (3, 12, 1)
    assert report.scores[0].per_point == pytest.approx(11 / 12)
    strange = {index: replace(image, keypoints=image.keypoints[4:]) for index, image in known.items()}
    nothing = pck(queried_points(), strange, [0.1])
    assert (nothing.pairs, nothing.points, nothing.median_error_px) == (0, 0, None)


def test_cycles_go_as_far_as_points_were_asked_for() -> None:
    form, known = queried_points(), truth(extra=np.array([[0.35, 0.6]]))
    around = cycle_pck(form, known, [0.1], 2)
    assert (around.cycles, around.points, around.scores[0].returned, around.scores[0].pooled) == (2, 8, 1, 1)
    lost = {**form.points, (1, 0): form.points[1, 0].copy()}
    lost[1, 0][2, 2:4] = np.nan
    around = cycle_pck(replace(form, points=lost), known, [0.1], 2)
    assert (around.points, around.scores[0].returned) == (8, pytest.approx(6 / 8))
    # A point that was found is looked for again from there; of another place nothing is known, right or wrong.
    unasked = {**form.points, (1, 0): form.points[1, 0][:3]}
    around = cycle_pck(replace(form, points=unasked), known, [0.1], 2)
    assert (around.points, around.scores[0].returned) == (6, 1)
    assert cycle_pck(form, known, [0.1], 3).cycles == 0
