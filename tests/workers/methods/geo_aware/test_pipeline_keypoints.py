"""Keypoints that are carried from picture to picture, and poses that are told by templates."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from api_schemas.methods.geo_aware import SPEC, GeoAwareParams
from tests.workers.methods.geo_aware.drawn import (
    FEET,
    HIPS,
    NAMES,
    SCHEMA,
    SIDE,
    Points,
    as_input,
    distances,
    keypoints,
    known,
    mirrored,
    picture,
    turned,
)
from workers.backbones.registry import BackboneProvider
from workers.methods.base import Annotation, InputImage, MethodResult
from workers.methods.export import export
from workers.methods.geo_aware.keypoints import COLUMNS
from workers.methods.geo_aware.pipeline import GeoAware
from workers.run_context import Run

BASE = {"backbone": "dense_descriptor", "grid": 24, "imd": {"resolution": 16}, "variants": ["id", "flip"]}
BECOMES = np.array(SCHEMA.permutation)
HIDDEN = HIPS[1]
BACKBONES = BackboneProvider()


def run_on(images: list[InputImage], **params: Any) -> MethodResult:
    given = GeoAwareParams.model_validate({**BASE, **params})
    return GeoAware(BACKBONES).run(images, given, Run.local(stages=SPEC.stages))


def in_the_mirror(points: Points) -> Points:
    """Keypoints of a mirror image: what shows where the left one lay is a right one."""
    return mirrored(points)[BECOMES]


def two_and_a_bare_one() -> list[InputImage]:
    """A picture of which one hip is not known, its mirror image with all keypoints, and a picture without any."""
    rgb = picture(0)
    return [
        as_input(0, rgb, known(keypoints(0), hidden=(HIDDEN,), box=(40, 40, 240, 240))),
        as_input(1, rgb[:, ::-1].copy(), known(in_the_mirror(keypoints(0)))),
        as_input(2, picture(6)),
    ]


@pytest.fixture(scope="module")
def result() -> MethodResult:
    return run_on(two_and_a_bare_one())


def rows_of(result: MethodResult, source: int, target: int) -> dict[int, dict[str, Any]]:
    """What was carried from an image to another: of each keypoint its row, by column."""
    document: Any = result.documents["keypoint_transfer"]
    (pair,) = [pair for pair in document["pairs"] if (pair["source"], pair["target"]) == (source, target)]
    return {row[0]: dict(zip(document["columns"], row, strict=True)) for row in pair["points"]}


def places(rows: dict[int, dict[str, Any]]) -> Points:
    """(P, 2) pixels."""
    return np.array([[row["x"], row["y"]] for row in rows.values()])


def pck(result: MethodResult, part: str) -> list[float]:
    """Shares of right points at 0.1, 0.05 and 0.01."""
    document: Any = result.documents["pck_report"]
    return [score["per_point"] for score in document[part]["standard"]["pck"]]


def test_keypoints_go_from_annotated_pictures_to_all_others(result: MethodResult) -> None:
    document: Any = result.documents["keypoint_transfer"]
    assert tuple(document["columns"]) == COLUMNS
    assert document["names"] == {"creature": NAMES}
    assert [(pair["source"], pair["target"]) for pair in document["pairs"]] == [(0, 1), (1, 0), (0, 2), (1, 2)]
    assert {pair["category"] for pair in document["pairs"]} == {"creature"}
    assert [len(pair["points"]) for pair in document["pairs"]] == [11, 12, 11, 12]


def test_in_a_mirror_image_a_keypoint_lands_on_its_own_kind(result: MethodResult) -> None:
    rows, truth = rows_of(result, 0, 1), in_the_mirror(keypoints(0))
    assert set(rows) == set(range(12)) - {HIDDEN}
    assert {index for index, row in rows.items() if not row["from_mirrored"]} == {HIPS[0]}
    sure = {index: row for index, row in rows.items() if row["from_mirrored"]}
    assert distances(places(sure), truth[list(sure)]).max() < 4
    for index in FEET:
        assert distances(places({0: rows[index]}), mirrored(keypoints(0)[[index]])).min() > 40
    assert {row["confidence"] > 0.5 for row in sure.values()} == {True}
    assert {row["peak"] > 0.95 for row in sure.values()} == {True}
    assert {row["cycle_cells"] < 1 for row in sure.values()} == {True}


def test_without_its_partner_a_keypoint_goes_by_the_picture_as_it_is(result: MethodResult) -> None:
    plain = run_on(two_and_a_bare_one(), variants=["id"])
    ways = [rows_of(each, 0, 1)[HIPS[0]] for each in (result, plain)]
    assert ways[0] == ways[1]
    assert {row["from_mirrored"] for row in rows_of(plain, 0, 1).values()} == {False}


def test_the_report_says_what_the_mirror_is_worth(result: MethodResult) -> None:
    document: Any = result.documents["pck_report"]
    aligned, native = document["keypoints"], document["without_mirroring"]
    assert (aligned["standard"]["pairs"], aligned["standard"]["points"]) == (2, 22)
    assert (native["standard"]["pairs"], native["standard"]["points"]) == (2, 22)
    assert pck(result, "keypoints")[0] > 0.9
    assert pck(result, "without_mirroring")[0] < 0.6
    # The feet in both directions, and the one hip where the target shows the other one too.
    assert aligned["geometry_aware"]["points"] == 5
    assert aligned["geometry_aware"]["pck"][0]["per_point"] == 1


def test_errors_count_by_the_targets_box(result: MethodResult) -> None:
    images = two_and_a_bare_one()
    boxless = InputImage(
        "0.png", images[0].rgb, annotation=known(keypoints(0), hidden=(HIDDEN,), box=(127, 127, 128, 128))
    )
    small = run_on([boxless, *images[1:]])
    assert pck(small, "keypoints")[0] < pck(result, "keypoints")[0]


def test_the_result_can_be_written(result: MethodResult, tmp_path: Path) -> None:
    exported = export(result, two_and_a_bare_one(), tmp_path)
    names = {draft.name for draft, _ in exported.artifacts}
    assert {"keypoint_transfer.json", "pck_report.json", "pairs.json"} <= names
    told = json.loads((tmp_path / "keypoint_transfer.json").read_text(encoding="utf-8"))
    assert told == result.documents["keypoint_transfer"]


def test_the_official_way_reads_the_cell_that_a_keypoint_lies_in(result: MethodResult) -> None:
    whole = run_on(two_and_a_bare_one(), subcell=False)
    found, sharp = (places(rows_of(each, 1, 0)) for each in (whole, result))
    apart = distances(found, sharp)
    assert 0 < np.median(apart) < 2 * SIDE / 24
    assert pck(whole, "keypoints")[0] > 0.8


def test_in_a_turned_picture_keypoints_keep_their_sides() -> None:
    images = [
        as_input(0, picture(0), known(keypoints(0))),
        as_input(1, np.rot90(picture(0)).copy(), known(turned(keypoints(0)))),
    ]
    found = run_on(images, variants=["id", "flip", "rot90", "rot270"])
    for source, target in ((0, 1), (1, 0)):
        rows = rows_of(found, source, target)
        annotation = images[target].annotation
        assert annotation is not None
        assert distances(places(rows), annotation.keypoints[:, :2]).max() < 4
        assert not any(row["from_mirrored"] for row in rows.values())
    assert pck(found, "keypoints") == pck(found, "without_mirroring")
    assert pck(found, "keypoints")[:2] == [1, 1]


def test_keypoints_whose_sides_are_not_known_are_not_taken_from_the_mirror() -> None:
    images = two_and_a_bare_one()
    sideless = SCHEMA.model_copy(update={"mirror_pairs": None})
    annotation = Annotation("creature", sideless, np.concatenate([keypoints(0), np.ones((12, 1))], axis=1))
    found = run_on([InputImage("0.png", images[0].rgb, annotation=annotation), *images[1:]], pairs=[(0, 1)])
    assert not any(row["from_mirrored"] for row in rows_of(found, 0, 1).values())


def test_categories_are_not_compared_with_each_other(result: MethodResult) -> None:
    images = two_and_a_bare_one()
    other = as_input(1, images[1].rgb, known(in_the_mirror(keypoints(0)), category="machine"))
    found = run_on([images[0], other, images[2]])
    assert "pck_report" not in found.documents
    document: Any = found.documents["keypoint_transfer"]
    assert set(document["names"]) == {"creature", "machine"}
    assert rows_of(found, 0, 1) == rows_of(result, 0, 1)


def test_without_keypoints_nothing_is_carried() -> None:
    images = [as_input(0, picture(0), known(split="test")), as_input(1, picture(1), known(np.zeros((12, 2))))]
    hidden = known(keypoints(1), hidden=tuple(range(12)))
    found = run_on([*images, as_input(2, picture(2), hidden)], pairs=[(0, 1), (2, 0)])
    assert set(found.documents) == {"pairs"}


def test_keypoints_are_not_carried_to_a_picture_whose_mask_has_no_cell(tmp_path: Path) -> None:
    images = []
    for number in range(2):
        mask = np.full((SIDE, SIDE), 255 * number, dtype=np.uint8)
        mask[100:103, 100:103] = 255
        images.append(InputImage(f"{number}.png", picture(number), mask, known(keypoints(number))))
    found = run_on(images, saliency="user")
    document: Any = found.documents["keypoint_transfer"]
    assert [(pair["source"], pair["target"]) for pair in document["pairs"]] == [(0, 1)]
    export(found, images, tmp_path)


def faces(*poses: str | None) -> list[InputImage]:
    """The creature facing one way and the other in turn, each as a template of a pose, or not."""
    drawn = [picture(number) for number in (0, 0, 1, 1)]
    return [
        as_input(number, rgb[:, ::-1].copy() if number % 2 else rgb, known(pose=pose) if pose else None)
        for number, (rgb, pose) in enumerate(zip(drawn, poses, strict=True))
    ]


def poses_of(result: MethodResult) -> list[tuple[int, str]]:
    rows: Any = result.documents["pose_prediction"]
    return [(row["image"], row["pose"]) for row in rows]


@pytest.mark.parametrize("variants", [["id"], ["id", "flip"]])
def test_poses_are_told_by_templates(variants: list[str], tmp_path: Path) -> None:
    images = faces("right", "left", None, None)
    found = run_on(images, backbone="embedded", grid=16, variants=variants)
    assert poses_of(found) == [(2, "right"), (3, "left")]
    rows: Any = found.documents["pose_prediction"]
    for row in rows:
        assert row["votes"] == {"right": int(row["pose"] == "right"), "left": int(row["pose"] == "left")}
        assert row["margin"] > 0
    assert found.tensors["imd_matrix"].shape == (4, 4, len(variants))
    export(found, images, tmp_path)


def test_poses_are_told_as_far_as_pairs_are_asked_for(tmp_path: Path) -> None:
    images = faces("right", "left", None, None)
    some = run_on(images, variants=["id"], pairs=[(2, 0), (2, 1), (0, 3)])
    assert [image for image, _ in poses_of(some)] == [2]
    one = run_on(images, variants=["id"], pairs=[(3, 0), (1, 2)])
    rows: Any = one.documents["pose_prediction"]
    assert [(row["image"], row["pose"], row["margin"]) for row in rows] == [(3, "right", None)]
    none = run_on(images, pairs=[(0, 1), (0, 2)])
    assert "pose_prediction" not in none.documents
    export(one, images, tmp_path)


@pytest.mark.parametrize("poses", [("right", "right", None, None), ("right", "left", "right", "left")])
def test_without_two_poses_or_without_others_nothing_is_told(poses: tuple[str | None, ...]) -> None:
    assert "pose_prediction" not in run_on(faces(*poses), pairs=[(2, 0), (3, 1)]).documents
