"""Scores over HTTP: results with maps known in closed form against keypoints known in closed form."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fastapi.testclient import TestClient

from alignment.forms import Form
from alignment.pairwise import PairwiseMaps
from alignment.sampling import cell_centres
from service.dependencies import Services
from tests.alignment.builders import SIZES, TO_IMAGE, affine_atlas, affine_pairs, apply, invert
from tests.service.finished import finished_job
from tests.service.requests import pointers, problem

STRANGER = "img_01k8zd6c2q4x7v9m3n5p8r0s1t"
EYES_AND_NOSE = {"names": ["left eye", "right eye", "nose"], "mirror_pairs": [[0, 1]], "groups": [[0, 1]]}


class Finished:
    """A succeeded job of three images."""

    def __init__(self, client: TestClient, job: dict[str, Any]) -> None:
        self._client, self._address = client, job["links"]["evaluations"]
        self.image_ids: list[str] = [image["id"] for image in job["inputs"]["images"]]

    def evaluate(self, **body: Any) -> Any:
        """Ask how good the result is."""
        return self._client.post(self._address, json=body)

    def report(self, **body: Any) -> dict[str, Any]:
        """Ask with a share of the image's side for a limit."""
        answer = self.evaluate(threshold="image", **body)
        assert answer.status_code == 200, answer.text
        found: dict[str, Any] = answer.json()
        return found


MakeFinished = Callable[[Form, str], Finished]


@pytest.fixture
def finish(client: TestClient, services: Services, tmp_path: Path) -> MakeFinished:
    def make(form: Form, method: str) -> Finished:
        return Finished(client, finished_job(client, services, tmp_path / method, form, method))

    return make


@pytest.fixture
def atlas(finish: MakeFinished) -> Finished:
    return finish(affine_atlas(), "neural_congealing")


@pytest.fixture
def pairs(finish: MakeFinished) -> Finished:
    return finish(affine_pairs(), "nearest_neighbors")


def keypoints(finished: Finished) -> dict[str, list[list[float]]]:
    """The same canonical places in every image; the first two lie mirrored to each other about the third."""
    places = np.array([[0.3, 0.5], [0.7, 0.5], [0.5, 0.6]])
    return {
        image_id: [[x, y, 1] for x, y in apply(matrix, places).tolist()]
        for image_id, matrix in zip(finished.image_ids, TO_IMAGE, strict=True)
    }


def confusing_pairs() -> PairwiseMaps:
    """Maps that carry everything to the other side of its image."""
    good, maps = affine_pairs(), {}
    for i, j in good.maps:
        centres = cell_centres(SIZES[i].height // 2, SIZES[i].width // 2, SIZES[i].extent)
        u, v = np.moveaxis(apply(invert(TO_IMAGE[i]), centres), -1, 0)
        maps[i, j] = apply(TO_IMAGE[j], np.stack([1 - u, v], axis=-1)).astype(np.float32)
    return replace(good, maps=maps)


def test_exact_maps_score_full_marks(atlas: Finished, pairs: Finished) -> None:
    for finished in (atlas, pairs):
        report = finished.report(keypoints=keypoints(finished), alphas=[0.1, 0.01])
        assert (report["pairs"], report["points"], report["missing"]) == (6, 18, 0)
        assert [row["alpha"] for row in report["pck"]] == [0.1, 0.01]
        assert [row["per_point"] for row in report["pck"]] == [1.0, 1.0]
        assert report["pck"][1]["identity"] < 1.0
        assert report["median_error_px"] < 0.1


def test_exact_maps_close_every_cycle(atlas: Finished) -> None:
    answer = atlas.report(keypoints=keypoints(atlas), alphas=[0.1, 0.01], cycles=[3, 2])
    assert [(around["length"], around["cycles"], around["points"]) for around in answer["cycles"]] == [
        (3, 6, 18),
        (2, 6, 18),
    ]
    rows = [row for around in answer["cycles"] for row in around["pck"]]
    assert [(row["returned"], row["pooled"]) for row in rows] == [(1.0, 1.0)] * 4
    assert atlas.report(keypoints=keypoints(atlas))["cycles"] == []


def test_boxes_set_the_threshold(atlas: Finished) -> None:
    given = keypoints(atlas)
    for shifted in given[atlas.image_ids[2]]:
        shifted[0] += 4.0
    small = {image_id: [0, 0, 20, 30] for image_id in given}
    large = {image_id: [0, 0, 20, 80] for image_id in given}
    low = atlas.evaluate(keypoints=given, boxes=small, alphas=[0.1]).json()["pck"][0]["per_point"]
    high = atlas.evaluate(keypoints=given, boxes=large, alphas=[0.1]).json()["pck"][0]["per_point"]
    assert low < high == 1.0


def test_figures_that_nobody_asked_for_are_null(pairs: Finished) -> None:
    report = pairs.report(keypoints=keypoints(pairs))
    assert report["geometry_aware"] is report["mirrored"] is report["azimuth_bins"] is None


def test_a_map_that_tells_left_from_right(pairs: Finished) -> None:
    report = pairs.report(keypoints=keypoints(pairs), keypoint_schema=EYES_AND_NOSE, alphas=[0.1, 0.02])
    assert report["geometry_aware"] == {
        "pairs": 6,
        "points": 12,
        "pck": [{"alpha": alpha, "per_point": 1.0, "per_pair": 1.0} for alpha in (0.1, 0.02)],
    }
    assert report["mirrored"] == [{"alpha": alpha, "per_point": 0.0, "own": 1.0} for alpha in (0.1, 0.02)]
    assert report["azimuth_bins"] is None


def test_a_map_that_confuses_left_and_right(finish: MakeFinished) -> None:
    confusing = finish(confusing_pairs(), "nearest_neighbors")
    report = confusing.report(keypoints=keypoints(confusing), keypoint_schema=EYES_AND_NOSE, alphas=[0.1])
    # The nose lies in the middle and stays right: one of three.
    assert report["pck"][0]["per_point"] == pytest.approx(1 / 3)
    assert report["geometry_aware"]["pck"] == [{"alpha": 0.1, "per_point": 0.0, "per_pair": 0.0}]
    assert report["mirrored"] == [{"alpha": 0.1, "per_point": 1.0, "own": 0.0}]


def test_points_without_rival_or_partner_in_the_target_do_not_count(pairs: Finished) -> None:
    given = keypoints(pairs)
    given[pairs.image_ids[1]][0][2] = 0
    report = pairs.report(keypoints=given, keypoint_schema=EYES_AND_NOSE, alphas=[0.1])
    # To image 1 no eye counts; from there only the right one does.
    assert (report["points"], report["geometry_aware"]["points"], report["geometry_aware"]["pairs"]) == (14, 6, 4)
    given = {image_id: [[x, y, index] for index, (x, y, _) in enumerate(rows[:2])] for image_id, rows in given.items()}
    names = {"names": ["left eye", "right eye"]}
    report = pairs.report(keypoints=given, keypoint_schema=names, alphas=[0.1])
    assert report["geometry_aware"] == {
        "pairs": 0,
        "points": 0,
        "pck": [{"alpha": 0.1, "per_point": 0.0, "per_pair": 0.0}],
    }
    assert report["mirrored"] is None


def test_names_alone_tell_what_is_alike(pairs: Finished) -> None:
    asked = {"keypoints": keypoints(pairs), "alphas": [0.1]}
    told = pairs.report(**asked, keypoint_schema={"names": EYES_AND_NOSE["names"]})
    assert told == pairs.report(**asked, keypoint_schema=EYES_AND_NOSE)
    silent = pairs.report(**asked, keypoint_schema={"names": ["eye", "nose", "tail"]})
    assert silent["geometry_aware"] is silent["mirrored"] is None


def test_a_published_table_is_found_by_its_name(pairs: Finished) -> None:
    given = {image_id: [[*row[0][:2], 0]] * 17 for image_id, row in keypoints(pairs).items()}
    for image_id, (first, second, _) in keypoints(pairs).items():
        given[image_id][7], given[image_id][10] = first, second
    report = pairs.report(keypoints=given, keypoint_schema="ap10k", alphas=[0.1])
    assert (report["points"], report["geometry_aware"]["points"]) == (12, 12)
    assert report["mirrored"] == [{"alpha": 0.1, "per_point": 0.0, "own": 1.0}]


def test_azimuths_sort_the_pairs_by_change_of_viewpoint(finish: MakeFinished) -> None:
    form = affine_pairs()
    form.maps[1, 2][:] = np.nan
    partly = finish(form, "nearest_neighbors")
    first, second, third = partly.image_ids
    report = partly.report(keypoints=keypoints(partly), azimuths={first: 7, second: 0, third: 3}, alphas=[0.1, 0.02])
    assert report["azimuth_bins"] == [
        {"gap": 0, "pairs": 0, "points": 0, "per_point": None},
        {"gap": 1, "pairs": 2, "points": 6, "per_point": [1.0, 1.0]},
        {"gap": 2, "pairs": 0, "points": 0, "per_point": None},
        {"gap": 3, "pairs": 2, "points": 6, "per_point": [0.5, 0.5]},
        {"gap": 4, "pairs": 2, "points": 6, "per_point": [1.0, 1.0]},
    ]
    assert report["geometry_aware"] is report["mirrored"] is None


def test_pairs_of_which_the_result_has_no_map_are_left_out(finish: MakeFinished) -> None:
    whole = affine_pairs()
    maps = {pair: field for pair, field in whole.maps.items() if pair not in {(0, 1), (2, 0)}}
    partial = finish(
        replace(whole, maps=maps, confidence={pair: whole.confidence[pair] for pair in maps}), "nearest_neighbors"
    )
    report = partial.report(
        keypoints=keypoints(partial),
        keypoint_schema=EYES_AND_NOSE,
        azimuths=dict.fromkeys(partial.image_ids, 0),
        alphas=[0.1],
    )
    assert (report["pairs"], report["points"], report["missing"]) == (4, 12, 0)
    assert report["pck"][0]["per_point"] == report["pck"][0]["per_pair"] == 1.0
    assert (report["geometry_aware"]["pairs"], report["azimuth_bins"][0]["pairs"]) == (4, 4)


def test_annotations_that_do_not_fit(atlas: Finished) -> None:
    given = keypoints(atlas)
    first, second, _ = atlas.image_ids
    boxes = {image_id: [0, 0, 10, 10] for image_id in given}
    cases: list[tuple[dict[str, Any], str, str]] = [
        ({"keypoints": given}, f"/boxes/{first}", "needs a box for every image"),
        ({"keypoints": given, "boxes": {**boxes, second: [5, 5, 5, 9]}}, f"/boxes/{second}", "x1 > x0"),
        ({"keypoints": {**given, second: given[second][:1]}, "boxes": boxes}, f"/keypoints/{second}", "1 keypoints"),
        ({"keypoints": {first: given[first]}}, "/keypoints", "at least 2"),
        (
            {"keypoints": given, "threshold": "image", "cycles": [2, 4]},
            "/cycles/1",
            "keypoints of as many; got those of 3",
        ),
        ({"keypoints": given, "threshold": "image", "cycles": [5]}, "/cycles/0", "2, 3 or 4"),
        ({"keypoints": {**given, first: [[1, 2, 3]] * 3}}, f"/keypoints/{first}/0/2", "less than or equal to 1"),
    ]
    for body, pointer, says in cases:
        refused = problem(atlas.evaluate(**body), "validation-error", 422)
        assert pointer in pointers(refused)
        assert says in refused["detail"]
    unknown = atlas.evaluate(keypoints={**given, STRANGER: given[first]}, threshold="image")
    assert pointers(problem(unknown, "image-not-found", 422)) == [f"/keypoints/{STRANGER}"]


def test_schemas_and_azimuths_that_do_not_fit(atlas: Finished) -> None:
    first, second, third = atlas.image_ids
    cases: list[tuple[dict[str, Any], list[str], str]] = [
        ({"keypoint_schema": "ap10k"}, ["/keypoint_schema"], "names 17 keypoints where images have 3"),
        ({"keypoint_schema": {"names": ["a", "b"]}}, ["/keypoint_schema"], "names 2 keypoints where images have 3"),
        ({"keypoint_schema": "ap10"}, ["/keypoint_schema"], "did you mean 'ap10k'?"),
        ({"keypoint_schema": {**EYES_AND_NOSE, "groups": [[0, 7]]}}, ["/keypoint_schema"], "names keypoint 7"),
        ({"azimuths": {first: 0}}, [f"/azimuths/{second}", f"/azimuths/{third}"], "has keypoints but no azimuth"),
        ({"azimuths": {first: 0, second: 8, third: 1}}, [f"/azimuths/{second}"], "less than or equal to 7"),
    ]
    for body, wrong, says in cases:
        refused = problem(
            atlas.evaluate(keypoints=keypoints(atlas), threshold="image", **body), "validation-error", 422
        )
        assert pointers(refused) == wrong
        assert says in refused["detail"]
    azimuths = {first: 0, second: 1, third: 2, STRANGER: 3}
    unknown = atlas.evaluate(keypoints=keypoints(atlas), threshold="image", azimuths=azimuths)
    assert pointers(problem(unknown, "image-not-found", 422)) == [f"/azimuths/{STRANGER}"]
