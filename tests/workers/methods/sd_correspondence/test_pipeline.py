"""Whole jobs on pictures of which the truth is known, with a network that sees their coordinates."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.workers.methods.sd_correspondence.bed import (
    ELSEWHERE,
    SMALL,
    SOURCE,
    THREE,
    TURNED,
    TWO,
    UPRIGHT,
    WIDE,
    found,
    image,
    local,
    params,
    points,
    queries,
    rows,
    same,
    tiny,
    truth,
)
from workers.evaluation.attention_bed import CanonicalReader
from workers.methods.base import InputImage, MethodResult
from workers.methods.export import export


def errors(result: MethodResult, placed: Any, target: InputImage, *, index: int = 1) -> Any:
    """How far each query was found from the truth, in 512ths of the sides."""
    off = points(result)[0, index][:, 2:4] - truth(placed, target)
    return np.linalg.norm(off * 512 / [target.width, target.height], axis=1)


def peaks(result: MethodResult, index: int) -> list[float]:
    """Of all queries in an image."""
    return [entry["peak"] for row in rows(result) for entry in row["targets"] if entry["image"] == index]


@pytest.fixture(scope="module")
def full() -> MethodResult:
    """A job at the paper's size; the third image shows none of the points."""
    images = [image(placed, f"{index}.png") for index, placed in enumerate((UPRIGHT, TURNED, ELSEWHERE))]
    chosen = params("fast", working_size=512, queries=queries(SOURCE), tuning={"rounds": 2})
    return found(images, chosen)


def test_points_are_found_where_they_are(full: MethodResult) -> None:
    assert errors(full, TURNED, SOURCE).max() <= 26
    assert min(peaks(full, 1)) > 0.15
    for row in rows(full):
        assert row["problems"] == []
        assert max(row["loss_shares"]) < 0.7
        assert row["targets"][0]["confidence"] > 0.7
        assert row["self_error"] < 13


def test_an_image_without_the_points_has_far_lower_peaks(full: MethodResult) -> None:
    for present, absent in zip(peaks(full, 1), peaks(full, 2), strict=True):
        assert present >= 4 * absent
    scores = [row["mean_peak"] for row in full.scores]
    assert scores[0] is None
    assert scores[1] == pytest.approx(np.mean(peaks(full, 1)), abs=1e-4)
    assert points(full)[0, 2][:, 4].max() < 0.3


@pytest.mark.parametrize(
    ("preset", "tuning", "resize", "peak"),
    [
        ("official", {"rounds": 1, "read_crops": 12}, "stretch", 0.15),
        ("joint", {"rounds": 2}, "pad", 0.1),
        ("cached", {"rounds": 2}, "stretch", 0.15),
    ],
)
def test_every_preset_finds_the_points(preset: str, tuning: dict[str, Any], resize: str, peak: float) -> None:
    chosen = params(preset, queries=queries(SOURCE), tuning=tuning, resize=resize, cycle=False)
    result = found([SOURCE, WIDE], chosen, local(1))
    assert errors(result, TURNED, WIDE).max() <= 26
    assert min(peaks(result, 1)) > peak


@pytest.fixture(scope="module")
def result() -> MethodResult:
    return found(THREE, tiny(cycle=True))


def test_every_query_is_sought_in_every_other_image_and_its_own(result: MethodResult) -> None:
    assert set(points(result)) == {(0, 1), (0, 2), (1, 0), (2, 0)}
    assert all(of.shape == (2, 5) for of in points(result).values())
    asked = [(query["x"], query["y"]) for query in TWO]
    np.testing.assert_allclose(points(result)[0, 2][:, :2], asked, rtol=1e-6)
    for index, row in enumerate(rows(result)):
        assert [entry["image"] for entry in row["targets"]] == [1, 2]
        assert row["own"]["image"] == 0
        for entry in row["targets"]:
            x, y = points(result)[0, entry["image"]][index, 2:4]
            assert (entry["x"], entry["y"]) == pytest.approx((x, y), abs=1e-3)
    heats = result.image_tensors["heat_maps"]
    assert [heat.shape for heat in heats] == [(2, 64, 64)] * 3
    assert all(np.isfinite(heat).all() for heat in heats)


def test_embeddings_are_kept_with_what_they_depend_on(result: MethodResult) -> None:
    assert result.tensors["embeddings"].shape == (2, 2, 77, 768)
    assert result.tensors["loss_curves"].shape == (2, 2, 6)
    info: Any = result.documents["embeddings_info"]
    assert info["embeddings"] == [{"image": 0, "queries": [index]} for index in range(2)]
    assert info["reader"] == result.backbone_identity == CanonicalReader().identity
    assert info["params"]["tuning"]["steps"] == 6
    json.dumps(result.documents, allow_nan=False)


def test_the_way_back_is_told_and_can_be_left_out(result: MethodResult) -> None:
    for row in rows(result):
        assert all(entry["cycle_error"] >= 0 for entry in row["targets"])
    back = points(result)[1, 0]
    np.testing.assert_array_equal(back[:, :2], points(result)[0, 1][:, 2:4])
    plain = found(THREE, tiny(cycle=False))
    assert set(points(plain)) == {(0, 1), (0, 2)}
    assert all("cycle_error" not in entry for row in rows(plain) for entry in row["targets"])
    for pair in points(plain):
        np.testing.assert_array_equal(points(plain)[pair], points(result)[pair])


def test_the_same_seed_finds_the_same_and_another_does_not(result: MethodResult) -> None:
    assert same(result, found(THREE, tiny(cycle=True)))
    other = found(THREE[:2], tiny(cycle=False), local(1))
    assert not np.array_equal(other.tensors["embeddings"], result.tensors["embeddings"])
    assert not np.array_equal(other.image_tensors["heat_maps"][1], result.image_tensors["heat_maps"][1])


def test_the_order_of_the_images_does_not_matter(result: MethodResult) -> None:
    turned = found([SMALL, WIDE, SOURCE], tiny(cycle=True, queries=queries(SOURCE, index=2)[:2]))
    for pair, rows_of_pair in points(result).items():
        mirrored = points(turned)[2 - pair[0], 2 - pair[1]]
        np.testing.assert_allclose(mirrored, rows_of_pair, rtol=1e-5)
    for index in range(3):
        heats = (result.image_tensors["heat_maps"][index], turned.image_tensors["heat_maps"][2 - index])
        np.testing.assert_allclose(heats[0], heats[1], rtol=1e-4, atol=1e-6)


def test_an_image_is_read_alike_whatever_else_is_in_the_set(result: MethodResult) -> None:
    pair = found([SOURCE, SMALL], tiny(cycle=False))
    np.testing.assert_array_equal(points(pair)[0, 1], points(result)[0, 2])


def test_only_the_targets_are_searched() -> None:
    chosen = found(THREE, tiny(cycle=False, targets=[2]))
    assert set(points(chosen)) == {(0, 2)}
    heats = chosen.image_tensors["heat_maps"]
    assert bool(np.isnan(heats[1]).all())
    assert bool(np.isfinite(heats[2]).all())


def test_points_of_several_images_are_sought() -> None:
    asked = [*TWO[:1], {"image": 1, "x": 100, "y": 50, "id": "wing"}]
    chosen = found([SOURCE, WIDE], tiny(cycle=False, queries=asked))
    assert {pair: len(of) for pair, of in points(chosen).items()} == {(0, 1): 1, (1, 0): 1}
    assert [row["id"] for row in rows(chosen)] == [None, "wing"]


@pytest.mark.parametrize("preset", ["cached", "joint"])
def test_a_grid_gives_dense_maps(preset: str, tmp_path: Path) -> None:
    dense = found([SOURCE, WIDE], tiny(preset, queries=None, grid={"step": 170}, cycle=True))
    form: Any = dense.form
    assert set(form.maps) == {(0, 1), (1, 0)}
    assert form.maps[0, 1].shape == (3, 3, 2)
    assert form.confidence[0, 1].shape == (3, 3)
    np.testing.assert_array_equal(form.maps[0, 1].reshape(-1, 2), points(dense)[0, 1][:, 2:4])
    centres = [(x, y) for y in (1, 3, 5) for x in (1, 3, 5)]
    np.testing.assert_allclose(points(dense)[0, 1][:, :2], np.array(centres) * 256 / 6, rtol=1e-6)
    embeddings = len(dense.tensors["embeddings"])
    assert embeddings == 9 if preset == "cached" else embeddings < 9
    export(dense, [SOURCE, WIDE], tmp_path)


def test_a_result_can_be_written_down(result: MethodResult, tmp_path: Path) -> None:
    export(result, THREE, tmp_path)
    written = {path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*") if path.is_file()}
    sheets = {f"pictures/heat_maps/{query:03d}.png" for query in range(2)}
    assert sheets | {f"pictures/points/{index:03d}.png" for index in range(3)} <= written
    assert {"embeddings.safetensors", "loss_curves.safetensors", "matches.json", "embeddings_info.json"} <= written
