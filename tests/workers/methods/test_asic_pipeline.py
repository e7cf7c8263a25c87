"""The method from end to end on three masked creatures, one of them mirrored."""

from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file

from alignment.atlas import Atlas
from alignment.scores import pck
from api_schemas.manifest import ArtifactKind
from api_schemas.methods.asic import SPEC, AsicParams
from api_schemas.methods.nearest_neighbors import NearestNeighborsParams
from tests.workers.methods.drawn import TRIM, creatures
from tests.workers.methods.masked import annotated, masked_pictures
from tests.workers.methods.recorder import Recorder
from workers.backbones.registry import BackboneProvider
from workers.methods.asic.pipeline import Asic
from workers.methods.base import InputImage, MethodResult, UnfitImagesError
from workers.methods.export import export
from workers.methods.nearest_neighbors.pipeline import NearestNeighbors
from workers.run_context import JobCanceled, Run

INDICES, MIRRORED = (0, 2, 6), (2,)
PARAMS = AsicParams(backbone="embedded", working_size=128, atlas_size=64, num_parts=3)
ALPHAS = [0.05]


def images() -> list[InputImage]:
    return masked_pictures(INDICES, mirrored=MIRRORED)


def aligned(run: Run, shown: list[InputImage] | None = None) -> MethodResult:
    return Asic(BackboneProvider()).run(shown or images(), PARAMS, run)


@cache
def plain() -> tuple[MethodResult, Recorder]:
    recorder = Recorder()
    return aligned(Run(seed=0, device=torch.device("cpu"), stages=SPEC.stages, reporter=recorder)), recorder


def atlas() -> Atlas:
    form = plain()[0].form
    assert isinstance(form, Atlas)
    return form


def test_stages_follow_each_other_as_the_spec_says() -> None:
    assert plain()[1].stages == ["features", "maps", "parts"]
    named = [stage.name for stage in SPEC.stages]
    assert named == ["features", "maps", "parts", "network", "export"]


def test_keypoints_are_carried_better_than_by_nearest_neighbours_and_the_identity() -> None:
    truth = annotated(INDICES, mirrored=MIRRORED)
    params = NearestNeighborsParams(backbone="embedded", working_size=128)
    baseline = NearestNeighbors(BackboneProvider()).run(images(), params, Run.local())
    (score,), (raw,) = pck(atlas(), truth, ALPHAS).scores, pck(baseline.form, truth, ALPHAS).scores
    assert score.per_point > 0.95
    assert raw.per_point < score.per_point - 0.1
    assert score.identity < 0.5


def test_the_mirrored_picture_is_found_and_everything_agrees() -> None:
    rows = plain()[0].scores
    assert [row["mirrored"] for row in rows] == [False, True, False]
    assert not any(row["outlier"] for row in rows)
    for row in rows:
        assert isinstance(row["consistency"], float)
        assert 0.9 < row["consistency"] <= 1
        assert row["fold_over"] < 0.01  # type: ignore[operator]
        assert row["matches"] > 50  # type: ignore[operator]
    summary = plain()[0].set_scores
    assert (summary["images"], summary["outliers"], summary["parts"]) == (3, 0, 3)


def test_maps_cover_the_uploaded_pictures() -> None:
    form = atlas()
    assert [(size.width, size.height) for size in form.images] == [(256, 256 - TRIM), (256, 256), (256, 256)]
    assert [field.shape for field in form.to_canonical] == [(108, 128, 2), (128, 128, 2), (128, 128, 2)]
    assert form.size == 64
    for forward, confidence in zip(form.to_canonical, form.confidence, strict=True):
        assert np.isfinite(forward).all()
        assert np.isfinite(confidence).all()
        assert confidence.min() == 0
        assert 0.5 < confidence.max() <= 1
        assert (confidence[((forward < -0.02) | (forward > 1.02)).any(axis=-1)] == 0).all()


def test_there_and_back_ends_where_it_began() -> None:
    form, drawn = atlas(), creatures(MIRRORED)
    for position, index in enumerate(INDICES):
        there = form.transfer(drawn.keypoints[index], source=position, target=None)
        back = form.transfer(there.points, source=None, target=position)
        assert np.linalg.norm(back.points - drawn.keypoints[index], axis=1).max() < 1


def test_confidence_and_parts_keep_to_the_object() -> None:
    result, drawn = plain()[0], creatures(MIRRORED)
    for position, index in enumerate(INDICES):
        rows, columns = atlas().confidence[position].shape
        mask = drawn.image_masks[index, 0, : 2 * rows : 2, : 2 * columns : 2] > 0
        confidence, labels = atlas().confidence[position], result.image_tensors["parts"][position]
        assert confidence[mask].mean() > 4 * confidence[~mask].mean()
        assert labels.shape == confidence.shape
        assert set(np.unique(labels)) <= {-1, 0, 1, 2}
        assert (labels[mask] >= 0).mean() > 0.8
        assert (labels[~mask] == -1).mean() > 0.9


def test_pictures_show_the_same_parts_at_the_same_place_the_mirrored_one_too() -> None:
    shares = plain()[0].tensors["part_shares"]
    assert shares.shape == (3, 64, 64)
    assert shares.max() <= 1 + 1e-5
    shown = shares.sum(axis=0) > 0.9
    assert shown.mean() > 0.1
    assert shares.max(axis=0)[shown].mean() > 0.9


def test_matches_are_listed_in_uploaded_pixels() -> None:
    rows = plain()[0].tensors["matches"]
    assert rows.shape[1] == 7
    first, a, second, b = rows[:, 0].astype(int), rows[:, 1:3], rows[:, 3].astype(int), rows[:, 4:6]
    drawn = creatures(MIRRORED)
    for points, ends in ((a, first), (b, second)):
        masks = drawn.image_masks[np.array(INDICES)[ends], 0]
        columns, lines = np.clip(points.astype(int), 0, 255).T
        assert masks[np.arange(len(rows)), lines, columns].mean() > 0.9
    trusted = rows[:, 6] > 0.8
    errors = [
        np.linalg.norm(drawn.transfer(INDICES[i], INDICES[j], start) - end)
        for i, start, j, end in zip(first[trusted], a[trusted], second[trusted], b[trusted], strict=True)
    ]
    assert np.median(errors) < 8


def test_everything_is_exported(tmp_path: Path) -> None:
    exported = export(plain()[0], images(), tmp_path)
    kinds = {draft.kind for draft, _ in exported.artifacts}
    assert kinds >= {
        ArtifactKind.MAP_TO_CANONICAL,
        ArtifactKind.MAP_FROM_CANONICAL,
        ArtifactKind.CANONICAL_GRID,
        ArtifactKind.CANONICAL_COLOURS,
        ArtifactKind.PARTS,
        ArtifactKind.PART_FEATURES,
        ArtifactKind.MATCHES,
        ArtifactKind.CONGEALED_MASK,
        ArtifactKind.CONGEALED_IMAGE,
        ArtifactKind.IMAGE_SALIENCY,
        ArtifactKind.ATLAS_RGB,
        ArtifactKind.ATLAS_SALIENCY,
        ArtifactKind.SELF_CHECK,
        ArtifactKind.TRANSFORMS,
    }
    assert all(path.stat().st_size > 0 for _, path in exported.artifacts)
    labels = load_file(tmp_path / "tensors/parts/001.safetensors")["parts"]
    assert labels.dtype == np.int16
    assert np.array_equal(labels, plain()[0].image_tensors["parts"][1])
    grid = plain()[0].pictures["pictures/canonical_grid"]
    assert grid.shape[2] == 4
    assert grid[..., 3].max() > 200
    assert exported.self_check["consistency"] == pytest.approx(1, abs=0.1)
    assert exported.self_check["warnings"] == []


def test_same_seed_gives_the_same_bits() -> None:
    one, other = plain()[0], aligned(Recorder().run())
    second = other.form
    assert isinstance(second, Atlas)
    for name in ("to_canonical", "from_canonical", "confidence"):
        for before, after in zip(getattr(atlas(), name), getattr(second, name), strict=True):
            assert np.array_equal(before, after, equal_nan=True)
    assert all(np.array_equal(one.tensors[name], other.tensors[name]) for name in one.tensors)
    assert all(np.array_equal(one.pictures[name], other.pictures[name]) for name in one.pictures)
    assert one.scores == other.scores


@pytest.mark.parametrize("stage", ["features", "maps", "parts"])
def test_cancel_stops_within_a_stage(stage: str) -> None:
    recorder = Recorder(stop_at=stage)
    with pytest.raises(JobCanceled):
        aligned(recorder.run())
    assert recorder.stages[-1] == stage


def test_a_picture_that_shows_nothing_and_an_empty_mask_are_named() -> None:
    shown = images()
    grey = replace(shown[1], name="grey.png", rgb=np.full_like(shown[1].rgb, 128))
    with pytest.raises(UnfitImagesError, match=r"show nothing at all, take them out of the set: grey\.png"):
        aligned(Run.local(), [shown[0], grey, shown[2]])
    black = [replace(image, mask=np.zeros(image.rgb.shape[:2], np.uint8)) for image in shown]
    with pytest.raises(ValueError, match=f"the mask of {shown[0].name} is empty; mark the object"):
        aligned(Run.local(), black)
