"""Maps between pictures that are as they are, mirrored or turned."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from api_schemas.methods.geo_aware import SPEC, GeoAwareParams
from tests.workers.methods.geo_aware.drawn import (
    SIDE,
    Pixels,
    Points,
    as_input,
    carried,
    distances,
    keypoints,
    maps_of,
    mirrored,
    picture,
    turned,
)
from tests.workers.methods.recorder import Recorder
from workers.backbones.cache import FeatureCache
from workers.backbones.registry import BackboneProvider
from workers.methods.base import InputImage, MethodResult, UnfitImagesError
from workers.methods.export import export
from workers.methods.geo_aware import pairs
from workers.methods.geo_aware.pipeline import GeoAware
from workers.run_context import JobCanceled, Run

BASE = {"backbone": "dense_descriptor", "grid": 16, "imd": {"resolution": 16}}
ASKED = [(2, 0), (0, 1)]
TRIM = 40
BACKBONES = BackboneProvider()


def run_on(images: list[InputImage], run: Run | None = None, **params: Any) -> MethodResult:
    given = GeoAwareParams.model_validate({**BASE, **params})
    return GeoAware(BACKBONES).run(images, given, run or Run.local(stages=SPEC.stages))


def trio() -> list[InputImage]:
    """A creature, its mirror image, and another pose, trimmed to 216 x 256 pixels."""
    first = picture(0)
    return [as_input(0, first), as_input(1, first[:, ::-1].copy()), as_input(2, picture(6)[:, : SIDE - TRIM])]


def rows_of(result: MethodResult) -> dict[tuple[int, int], dict[str, Any]]:
    """What is told of each pair."""
    document: Any = result.documents["pairs"]
    return {(row["source"], row["target"]): row for row in document["pairs"]}


@pytest.fixture(scope="module")
def result() -> MethodResult:
    return run_on(trio(), variants=["id", "flip"])


def turned_on(degrees: int) -> MethodResult:
    """A picture and the same turned, looked at in all quarter turns."""
    turns = degrees // 90
    images = [as_input(0, picture(0)), as_input(1, np.rot90(picture(0), turns).copy())]
    return run_on(images, variants=["id", "flip", "rot90", "rot180", "rot270"])


def assert_same(one: MethodResult, other: MethodResult) -> None:
    """Two results are the same bit by bit."""
    first, second = maps_of(one), maps_of(other)
    assert set(first.maps) == set(second.maps)
    for pair in first.maps:
        np.testing.assert_array_equal(first.maps[pair], second.maps[pair])
        np.testing.assert_array_equal(first.confidence[pair], second.confidence[pair])
    assert one.documents == other.documents
    assert one.scores == other.scores
    for kind in one.image_tensors:
        for array, its in zip(one.image_tensors[kind], other.image_tensors[kind], strict=True):
            np.testing.assert_array_equal(array, its)


def test_every_ordered_pair_has_a_map_on_the_pictures_own_cells(result: MethodResult) -> None:
    form = maps_of(result)
    assert sorted(form.maps) == [(i, j) for i in range(3) for j in range(3) if i != j]
    assert form.maps[0, 2].shape == (16, 16, 2)
    assert form.maps[2, 0].shape == (16, 14, 2)
    for (_, target), points in form.maps.items():
        assert np.isfinite(points).all()
        assert (points >= 0).all()
        assert (points <= form.images[target].extent).all()
    confidence = np.concatenate([values.ravel() for values in form.confidence.values()])
    assert confidence.min() >= 0
    assert confidence.max() <= 1
    assert result.backbone == "dense_descriptor"
    assert result.backbone_identity is not None
    assert result.backbone_identity.startswith("dense_descriptor")


def test_evidence_and_distances_are_told_of_every_pair(result: MethodResult) -> None:
    evidence = result.image_tensors["match_evidence"]
    assert [part.shape for part in evidence] == [(3, 16, 16, 4), (3, 16, 16, 4), (3, 16, 14, 4)]
    for source, part in enumerate(evidence):
        assert np.isnan(part[source]).all()
        others = [target for target in range(3) if target != source]
        assert np.isfinite(part[others]).all()
        assert (part[others][..., 2] <= 1).all()
    imd = result.tensors["imd_matrix"]
    assert imd.shape == (3, 3, 2)
    assert np.isnan(imd[np.eye(3, dtype=bool)]).all()
    assert np.isfinite(imd[~np.eye(3, dtype=bool)]).all()
    for (source, target), row in rows_of(result).items():
        assert row["imd"] == pytest.approx(imd[source, target].tolist(), abs=1e-6)
    assert len(result.scores) == 3


def test_the_result_can_be_written(result: MethodResult, tmp_path: Path) -> None:
    exported = export(result, trio(), tmp_path)
    names = {draft.name for draft, _ in exported.artifacts}
    assert {"pairs.json", "imd_matrix.safetensors", "tensors/match_evidence/002.safetensors"} <= names
    assert "tensors/mirrored_maps/000.safetensors" in names


@pytest.mark.parametrize("pair", [(0, 1), (1, 0)])
def test_a_mirror_image_is_found_and_its_map_lands_where_the_mirrored_picture_has_it(
    result: MethodResult, pair: tuple[int, int]
) -> None:
    row = rows_of(result)[pair]
    assert (row["variant"], row["laterality"], row["map_variant"]) == ("flip", "mirrored", "id")
    assert row["imd_margin"] == pytest.approx(row["imd"][0] - row["imd"][1], abs=2e-6)
    assert row["imd"][1] < 0.1 * row["imd"][0]
    maps = result.image_tensors["mirrored_maps"][pair[0]][pair[1]]
    points = keypoints(0) if pair[0] == 0 else mirrored(keypoints(0))
    columns, rows = (points * 16 / SIDE).astype(int).T
    centres = (np.stack([columns, rows], axis=1) + 0.5) * SIDE / 16
    assert distances(maps[rows, columns, :2].astype(float), mirrored(centres)).max() < 4
    assert np.median(distances(carried(result, points, *pair), mirrored(points))) > 16
    assert maps[rows, columns, 2].mean() > row["mean_confidence"]


def test_pictures_that_were_not_mirrored_have_no_mirrored_map(result: MethodResult) -> None:
    rows, maps = rows_of(result), result.image_tensors["mirrored_maps"]
    for (source, target), row in rows.items():
        has_map = bool(np.isfinite(maps[source][target]).all())
        assert has_map == (row["laterality"] == "mirrored") == (row["variant"] != row["map_variant"])
        assert np.isnan(maps[source][target]).all() != has_map
    moved = [sum(rows[pair]["variant"] != "id" for pair in rows if pair[0] == image) for image in range(3)]
    assert [score["moved_for"] for score in result.scores] == moved
    plain = run_on(trio()[:2])
    assert set(plain.image_tensors) == {"match_evidence"}
    assert "imd_matrix" not in plain.tensors
    assert "imd" not in rows_of(plain)[0, 1]
    assert {row["variant"] for row in rows_of(plain).values()} == {"id"}


@pytest.mark.parametrize(
    ("degrees", "there", "back"), [(90, "rot90", "rot270"), (180, "rot180", "rot180"), (270, "rot270", "rot90")]
)
def test_a_turned_picture_is_turned_back_and_its_map_lands_right(degrees: int, there: str, back: str) -> None:
    found = turned_on(degrees)
    rows = rows_of(found)
    told = [(rows[pair]["variant"], rows[pair]["map_variant"], rows[pair]["laterality"]) for pair in ((0, 1), (1, 0))]
    assert told == [(there, there, "native"), (back, back, "native")]
    assert "mirrored_maps" not in found.image_tensors
    points = turn = keypoints(0)
    for _ in range(degrees // 90):
        turn = turned(turn)
    assert distances(carried(found, points, 0, 1), turn).max() < 4
    assert distances(carried(found, turn, 1, 0), points).max() < 4
    assert [score["moved_for"] for score in found.scores] == [1, 1]


def test_a_turned_mirror_image_has_a_map_without_the_mirror_too() -> None:
    images = [as_input(0, picture(0)), as_input(1, np.rot90(picture(0)[:, ::-1]).copy())]
    found = run_on(images, variants=["id", "rot90", "flip_rot90"], pairs=[(0, 1)])
    row = rows_of(found)[0, 1]
    assert (row["variant"], row["laterality"]) == ("flip_rot90", "mirrored")
    assert row["map_variant"] in ("id", "rot90")
    maps = found.image_tensors["mirrored_maps"][0][1]
    columns, rows = (keypoints(0) * 16 / SIDE).astype(int).T
    centres = (np.stack([columns, rows], axis=1) + 0.5) * SIDE / 16
    assert distances(maps[rows, columns, :2].astype(float), turned(mirrored(centres))).max() < 4


def test_only_the_pairs_asked_for_are_matched(result: MethodResult, tmp_path: Path) -> None:
    found = run_on(trio(), variants=["id", "flip"], pairs=ASKED)
    form, whole = maps_of(found), maps_of(result)
    assert sorted(form.maps) == sorted(ASKED)
    for pair in ASKED:
        np.testing.assert_array_equal(form.maps[pair], whole.maps[pair])
        assert rows_of(found)[pair] == rows_of(result)[pair]
    measured = np.isfinite(found.tensors["imd_matrix"]).all(axis=-1)
    assert [tuple(pair) for pair in np.argwhere(measured)] == sorted(ASKED)
    assert np.isnan(found.image_tensors["match_evidence"][0][2]).all()
    assert np.isnan(found.image_tensors["match_evidence"][1]).all()
    export(found, trio(), tmp_path)


def test_evidence_can_be_left_out(result: MethodResult) -> None:
    found = run_on(trio(), variants=["id", "flip"], evidence=False)
    assert set(found.image_tensors) == {"mirrored_maps"}
    np.testing.assert_array_equal(maps_of(found).maps[0, 2], maps_of(result).maps[0, 2])


def test_zeros_outside_the_window_pull_places_to_the_middle(result: MethodResult) -> None:
    asked: dict[str, Any] = {"variants": ["id", "flip"], "pairs": [(0, 2)]}
    sharp = maps_of(run_on(trio(), window_mode="zero", **asked)).maps[0, 2]
    soft = maps_of(run_on(trio(), window_mode="zero", temperature=0.2, **asked)).maps[0, 2]
    plain = maps_of(run_on(trio(), temperature=0.2, **asked)).maps[0, 2]
    middle = maps_of(result).images[2].extent / 2
    for points in (sharp, soft):
        assert np.isfinite(points).all()
        assert (points >= 0).all()
        assert (points <= 2 * middle).all()
    assert np.median(distances(sharp, maps_of(result).maps[0, 2])) < 1
    assert (distances(soft, middle) < distances(plain, middle)).all()


def resumed(result: MethodResult, state: dict[str, torch.Tensor], patch: pytest.MonkeyPatch) -> int:
    """Check that a run from `state` ends as one that was never disturbed; return how many maps it makes."""
    calls: list[int] = []
    plain = pairs.pair_maps

    def counted(*args: Any, **options: Any) -> Any:
        calls.append(1)
        return plain(*args, **options)

    with patch.context() as within:
        within.setattr(pairs, "pair_maps", counted)
        assert_same(run_on(trio(), Recorder().run(resume=state), variants=["id", "flip"]), result)
    return len(calls)


def test_every_checkpoint_leads_to_the_same_result(result: MethodResult, monkeypatch: pytest.MonkeyPatch) -> None:
    recorder = Recorder()
    assert_same(run_on(trio(), recorder.run(), variants=["id", "flip"]), result)
    assert recorder.stages == ["features", "variants", "matching"]
    states = list({len(state): state for state in recorder.checkpoints}.values())
    made = [resumed(result, state, monkeypatch) for state in (states[0], states[len(states) // 2], states[-1])]
    assert made[0] > made[1] > made[2] == 0
    assert len(states[-1]) == 6 + sum(row["laterality"] == "mirrored" for row in rows_of(result).values())


def test_a_checkpoint_holds_no_more_than_it_may(result: MethodResult, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pairs, "CHECKPOINT_BYTES", 4 * 16 * 16 * 7 * 3)
    recorder = Recorder()
    run_on(trio(), recorder.run(), variants=["id", "flip"])
    last = recorder.checkpoints[-1]
    assert 0 < sum(kept.nbytes for kept in last.values()) <= pairs.CHECKPOINT_BYTES
    assert resumed(result, last, monkeypatch) > 0


@pytest.mark.parametrize("stage", ["features", "variants", "matching"])
def test_cancel_stops_it(stage: str) -> None:
    recorder = Recorder(stop_at=stage)
    with pytest.raises(JobCanceled):
        run_on(trio(), recorder.run(), variants=["id", "flip"])
    assert recorder.stages[-1] == stage


@pytest.mark.parametrize("mode", ["masked", "mutual"])
def test_the_trained_network_tells_a_mirror_image(mode: str) -> None:
    found = run_on(trio()[:2], backbone="embedded", variants=["id", "flip"], imd={"mode": mode, "resolution": 16})
    assert {row["variant"] for row in rows_of(found).values()} == {"flip"}
    assert found.backbone == "embedded"


def test_a_variant_is_taken_only_for_a_gain_that_is_asked_for() -> None:
    turned_a_little = [as_input(0, picture(0)), as_input(1, picture(1))]
    options = ["id", "rot30", "rot-30"]
    first = rows_of(run_on(turned_a_little, variants=options))[0, 1]
    least = min(first["imd"])
    gain = 1 - least / first["imd"][0]
    assert first["variant"] == options[first["imd"].index(least)] != "id"
    for asked, variant in ((0.9 * gain, first["variant"]), (1.1 * gain, "id")):
        row = rows_of(run_on(turned_a_little, variants=options, min_relative_gain=asked))[0, 1]
        assert (row["variant"], row["imd"]) == (variant, first["imd"])


def masked(inside: Callable[[int], Pixels]) -> list[InputImage]:
    return [InputImage(f"{n}.png", picture(n), inside(n)) for n in range(2)]


def test_what_lies_outside_the_masks_has_no_place_and_is_none() -> None:
    left = np.zeros((SIDE, SIDE), dtype=np.uint8)
    left[:, : SIDE // 2] = 255
    found = run_on(masked(lambda _: left), saliency="user", variants=["id", "flip"])
    form = maps_of(found)
    for pair, points in form.maps.items():
        assert np.isnan(points[:, 8:]).all()
        assert (form.confidence[pair][:, 8:] == 0).all()
        assert points[:, :8, 0].max() <= SIDE / 2


def test_a_mask_without_a_cell_leaves_its_picture_without_matches(tmp_path: Path) -> None:
    def inside(number: int) -> Pixels:
        spot = np.full((SIDE, SIDE), 255 * number, dtype=np.uint8)
        spot[100:103, 100:103] = 255
        return spot

    images = masked(inside)
    found = run_on(images, saliency="user", variants=["id", "flip"])
    assert all(np.isnan(points).all() for points in maps_of(found).maps.values())
    assert {row["variant"] for row in rows_of(found).values()} == {"id"}
    assert rows_of(found)[0, 1]["imd"] == [None, None]
    export(found, images, tmp_path)


def test_features_that_are_at_hand_are_not_computed_again(result: MethodResult, tmp_path: Path) -> None:
    said: list[str] = []

    class Listener(Recorder):
        def log(self, message: str) -> None:
            said.append(message)

    backbones = BackboneProvider(cache=FeatureCache(tmp_path, max_bytes=10**9))
    params = GeoAwareParams.model_validate({**BASE, "variants": ["id", "flip"]})
    for _ in range(2):
        assert_same(GeoAware(backbones).run(trio(), params, Listener().run()), result)
    # The mirror image of the first picture is the second, and the other way round.
    assert [line.split(" pictures")[0] for line in said] == ["Features of 2 of 6", "Features of 6 of 6"]


def test_blank_pictures_are_refused_by_name() -> None:
    blank = as_input(7, np.full((64, 64, 3), 128, dtype=np.uint8))
    with pytest.raises(UnfitImagesError, match=r"7\.png"):
        run_on([*trio(), blank])


def spread(points: Points) -> float:
    """Median distance of points to their middle."""
    return float(np.median(distances(points, points.mean(axis=0))))


def test_another_pose_is_matched_too(result: MethodResult) -> None:
    inner = keypoints(6)[:, 0] < SIDE - TRIM
    found = carried(result, keypoints(0)[inner], 0, 2)
    error = distances(found, keypoints(6)[inner])
    assert np.median(error) < 0.5 * spread(keypoints(6)[inner])
