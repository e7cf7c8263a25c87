"""Parameters of correspondence by Stable Diffusion: presets, points, and what they cost."""

import json
from typing import Any

import pytest
from pydantic import ValidationError

from api_schemas.methods.sd_correspondence import (
    MAX_EMBEDDINGS,
    Preset,
    QueryGrid,
    QueryPoint,
    SdCorrespondenceParams,
    Tuning,
)
from api_schemas.methods.spec import PixelSize

PRESETS: tuple[Preset, ...] = ("official", "fast", "joint", "cached")
OFFICIAL_STEPS = 129


def given(**params: Any) -> SdCorrespondenceParams:
    """Read parameters as the service does."""
    return SdCorrespondenceParams.model_validate_json(json.dumps(params), strict=True)


def told(params: SdCorrespondenceParams, images: int) -> dict[tuple[str | int, ...], str]:
    """What does not fit a set of so many images."""
    return {misfit.path: misfit.detail for misfit in params.set_misfits(images)}


@pytest.mark.parametrize("preset", PRESETS)
def test_a_preset_leaves_nothing_of_the_tuning_open(preset: Preset) -> None:
    params = given(preset=preset)
    assert all(value is not None for value in params.tuning.model_dump().values())
    assert params.cycle is (preset in ("joint", "cached"))
    assert given(**params.model_dump(mode="json")) == params


def test_the_official_preset_is_the_papers() -> None:
    tuning = given(preset="official").tuning
    assert (tuning.rounds, tuning.steps, tuning.crop_bank) == (5, OFFICIAL_STEPS, 0)
    assert tuning.read_anchors == "adaptive"
    assert not tuning.half_pixel
    assert not tuning.stop_early


@pytest.mark.parametrize("preset", PRESETS)
def test_what_is_given_wins_over_the_preset(preset: Preset) -> None:
    params = given(preset=preset, cycle=False, tuning={"steps": 7, "half_pixel": None, "stop_early": False})
    assert params.cycle is False
    assert (params.tuning.steps, params.tuning.stop_early) == (7, False)
    untouched = given(preset=preset).tuning
    assert params.tuning == untouched.model_copy(update={"steps": 7, "stop_early": False})


def test_objects_are_filled_in_as_json_is() -> None:
    made = SdCorrespondenceParams(preset="joint", tuning=Tuning(steps=7), grid=QueryGrid(step=128))
    assert made == given(preset="joint", tuning={"steps": 7}, grid={"step": 128})


def test_without_points_a_grid_covers_the_first_image() -> None:
    assert given().grid == QueryGrid(image=0, step=64)
    assert (given().query_count, given().sources) == (64, [0])
    points = given(queries=[{"image": 1, "x": 3, "y": 4.5, "id": "tail"}])
    assert points.grid is None
    assert points.queries == [QueryPoint(image=1, x=3.0, y=4.5, id="tail")]
    assert (points.query_count, points.sources) == (1, [1])


@pytest.mark.parametrize(
    "params",
    [
        {"queries": [{"image": 0, "x": 1, "y": 1}], "grid": {}},
        {"queries": []},
        {"preset": "cheap"},
        {"preset": ["fast"]},
        {"tuning": None},
        {"tuning": [1]},
        {"tuning": {"step": 3}},
        {"tuning": {"steps": "7"}},
        {"queries": [{"image": "0", "x": 1, "y": 1}]},
        {"working_size": 500},
        {"model": "../sd15"},
    ],
)
def test_what_is_wrong_is_refused_by_its_field(params: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        given(**params)


def test_images_that_are_not_there_are_told_by_place() -> None:
    params = given(queries=[{"image": 0, "x": 1, "y": 1}, {"image": 4, "x": 1, "y": 1}], targets=[3, 1, 1])
    found = told(params, 3)
    assert set(found) == {("queries", 1, "image"), ("targets", 0), ("targets",)}
    assert "no image 4 in a set of 3; use 0 to 2" in found["queries", 1, "image"]
    assert "image 1 stands 2 times" in found["targets",]
    assert set(told(given(grid={"image": 3}), 3)) == {("grid", "image")}


def test_points_need_a_target_other_than_their_own_image() -> None:
    assert "no target but the image itself" in told(given(targets=[0]), 2)["targets",]
    assert told(given(targets=[1]), 2) == {}
    assert given(targets=[2, 0]).targets_of(0, 3) == [2]
    assert given().targets_of(1, 3) == [0, 2]


def test_points_and_their_names_stand_once() -> None:
    points = [
        {"image": 0, "x": 1, "y": 1, "id": "nose"},
        {"image": 0, "x": 1.0, "y": 1.0},
        {"image": 0, "x": 2, "y": 1, "id": "nose"},
        {"image": 1, "x": 1, "y": 1},
    ]
    found = told(given(queries=points), 2)
    assert set(found) == {("queries", 1), ("queries", 2)}
    assert "is the same point as query 0" in found["queries", 1]
    assert "has the same id as query 0" in found["queries", 2]


def test_more_points_than_can_be_kept_are_told_with_limit_cost_and_remedy() -> None:
    points = [{"image": 0, "x": index / 2, "y": 1} for index in range(MAX_EMBEDDINGS + 1)]
    detail = told(given(queries=points), 2)["queries",]
    assert f"{MAX_EMBEDDINGS + 1} points" in detail
    assert f"at most {MAX_EMBEDDINGS};" in detail
    assert "TFLOP" in detail
    assert "several jobs, or take preset 'joint' for up to 4096" in detail
    assert told(given(queries=points, preset="joint"), 2) == {}
    assert ("grid", "step") in told(given(grid={"step": 16}), 2)


def test_a_point_lies_in_its_image_or_is_told() -> None:
    sizes = [PixelSize(40, 30), PixelSize(20, 50)]
    points = [(0, 40, 30), (0, 40.5, 1), (1, 20, 50), (1, 1, -0.1), (0, 30, 31)]
    params = given(queries=[{"image": image, "x": x, "y": y} for image, x, y in points])
    found = {misfit.path: misfit.detail for misfit in params.size_misfits(sizes)}
    assert set(found) == {("queries", 1), ("queries", 3), ("queries", 4)}
    assert "(40.5, 1) lies outside image 0, which is 40 x 30 pixels" in found["queries", 1]
    assert given().size_misfits(sizes) == []


def test_cost_grows_with_points_images_and_size_and_falls_with_the_preset() -> None:
    def tflop(images: int = 3, **params: Any) -> float:
        return given(model="sd14", **params).work_tflop(images)

    assert tflop(grid={"step": 128}) < tflop() < tflop(images=9)
    assert tflop(working_size=256) < tflop() < tflop(working_size=768)
    assert tflop(preset="cached") < tflop(preset="joint") < tflop(preset="fast") < tflop(preset="official")
    assert tflop() < tflop(cycle=True)


def test_memory_grows_with_size_and_the_checkpoint_and_is_more_than_its_weights() -> None:
    def peak(**params: Any) -> int:
        return given(**{"model": "sd14", **params}).peak_bytes(3)

    assert 4e9 < peak() < peak(model="sd15") < 16e9
    assert peak(working_size=256) < peak() < peak(working_size=768)
    assert given(model="sd21").extra_weights() == ("sd21",)
