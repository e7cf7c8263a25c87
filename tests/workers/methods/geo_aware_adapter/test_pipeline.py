"""Training adapters on annotated pictures, from the images to the result and on to what uses it."""

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from api_schemas.manifest import ArtifactKind
from api_schemas.methods.geo_aware import GeoAwareParams
from api_schemas.methods.geo_aware_adapter import SPEC, GeoAwareAdapterParams
from tests.workers.methods.geo_aware.drawn import NAMES, SCHEMA, as_input, distances, keypoints, known, maps_of, picture
from tests.workers.methods.recorder import Recorder
from workers.backbones.cache import FeatureCache
from workers.backbones.registry import BackboneProvider
from workers.methods.base import InputImage, MethodResult, UnfitImagesError
from workers.methods.export import export
from workers.methods.geo_aware.pipeline import GeoAware
from workers.methods.geo_aware_adapter.pipeline import GeoAwareAdapter
from workers.methods.geo_aware_adapter.stored import CONFIG, WEIGHTS, read_adapter, read_config
from workers.run_context import JobCanceled, Run

BASE: dict[str, Any] = {"backbone": "dense_descriptor", "grid": 16}
TINY: dict[str, Any] = {"steps": 3, "batch_images": 2, "width": 32}
HELD_OUT = ["neck", "belly"]
TRAIN, TEST = (0, 1, 2, 3), (4, 5)
BACKBONES = BackboneProvider()
CHANNELS = BACKBONES.get("dense_descriptor").block_channels

Parts = Mapping[str, np.ndarray[Any, np.dtype[np.float32]]]


@pytest.fixture(scope="module", autouse=True)
def _features_at_hand(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Describe each picture once for all tests."""
    BACKBONES.cache = FeatureCache(tmp_path_factory.mktemp("features"), max_bytes=10**9)


def params(training: dict[str, Any] | None = None, **changed: Any) -> GeoAwareAdapterParams:
    return GeoAwareAdapterParams.model_validate({**BASE, "training": TINY | (training or {}), **changed})


def train_on(images: list[InputImage], run: Run | None = None, **changed: Any) -> MethodResult:
    return GeoAwareAdapter(BACKBONES).run(images, params(**changed), run or Run.local(stages=SPEC.stages))


def seven() -> list[InputImage]:
    """Four annotated pictures to learn from, two to test, and one of which nothing is known."""
    images = [
        as_input(n, picture(n), known(keypoints(n), split="train" if n in TRAIN else "test")) for n in (*TRAIN, *TEST)
    ]
    return [*images, as_input(6, picture(6))]


def changed(images: list[InputImage], number: int, *, only: tuple[str, ...] = ()) -> list[InputImage]:
    """The same images, but with other pixels and keypoints in one, or only with some of its keypoints elsewhere."""
    annotation = images[number].annotation
    assert annotation is not None
    moved = annotation.keypoints.copy()
    rows = [NAMES.index(name) for name in only] or list(range(len(NAMES)))
    moved[rows, :2] = 256 - moved[rows, :2]
    rgb = images[number].rgb if only else picture(7)
    other = replace(images[number], rgb=rgb, annotation=replace(annotation, keypoints=moved))
    return [*images[:number], other, *images[number + 1 :]]


def weights_of(result: MethodResult) -> Parts:
    return result.bundles[WEIGHTS]


def are_same(one: MethodResult, other: MethodResult) -> bool:
    """Whether two trainings ended with the same weights, bit by bit."""
    first, second = weights_of(one), weights_of(other)
    assert set(first) == set(second)
    return all(np.array_equal(first[name], second[name]) for name in first)


def report_of(result: MethodResult) -> dict[str, Any]:
    report: Any = result.documents["pck_report"]
    found: dict[str, Any] = report
    return found


def points_of(part: dict[str, Any]) -> list[int]:
    """How many keypoints were scored before and after."""
    return [part[when]["standard"]["points"] for when in ("before", "after")]


@pytest.fixture(scope="module")
def result() -> MethodResult:
    return train_on(seven(), holdout_keypoints=HELD_OUT)


@pytest.fixture(scope="module")
def folder(result: MethodResult, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The result as files."""
    path = tmp_path_factory.mktemp("adapter")
    export(result, seven(), path)
    return path


def using(folder: Path, name: str, *, seed: int = 0) -> Run:
    """A run with the result of another job."""
    return Run(seed=seed, device=torch.device("cpu"), used={name: folder})


def test_the_report_compares_before_and_after(result: MethodResult) -> None:
    report = report_of(result)
    assert set(report) == {"split", "test", "train", "held_out_keypoints"}
    learned = len(NAMES) - len(HELD_OUT)
    assert points_of(report["test"]) == [2 * learned] * 2
    assert points_of(report["train"]) == [12 * learned] * 2
    assert points_of(report["held_out_keypoints"]) == [2 * len(HELD_OUT)] * 2
    for part in ("test", "train", "held_out_keypoints"):
        for when in ("before", "after"):
            scores = report[part][when]["standard"]["pck"]
            assert [score["alpha"] for score in scores] == [0.1, 0.05, 0.01]
            assert all(0 <= score["per_point"] <= 1 for score in scores)
            assert set(report[part][when]["categories"]) == {"creature"}
    assert report["train"]["before"]["geometry_aware"]["points"] == 12 * 4
    assert report["train"]["before"] != report["train"]["after"]
    json.dumps(report, allow_nan=False)


def test_annotations_say_what_is_learned_from(result: MethodResult) -> None:
    split = {"train": [f"{n}.png" for n in TRAIN], "val": [], "test": [f"{n}.png" for n in TEST]}
    assert report_of(result)["split"] == split
    assert sorted(maps_of(result).maps) == [TEST, TEST[::-1]]


def test_what_is_kept_for_the_test_is_never_learned_from(result: MethodResult) -> None:
    both = changed(changed(seven(), TEST[0]), TEST[1])
    assert are_same(result, train_on(both, holdout_keypoints=HELD_OUT))
    assert not are_same(result, train_on(changed(seven(), 0), holdout_keypoints=HELD_OUT))


def test_keypoints_that_are_held_out_are_never_learned_from(result: MethodResult) -> None:
    moved = changed(seven(), 1, only=("neck", "belly"))
    assert are_same(result, train_on(moved, holdout_keypoints=HELD_OUT))
    plain = train_on(seven())
    assert not are_same(plain, train_on(moved))
    assert "held_out_keypoints" not in report_of(plain)


def test_without_splits_a_share_of_every_category_is_kept_by_lot() -> None:
    images = [
        as_input(n, picture(n), known(keypoints(n), category="creature" if n < 6 else "machine")) for n in range(8)
    ]
    short = {"steps": 1}
    first = train_on(images, test_share=0.4, training=short)
    split = report_of(first)["split"]
    assert sorted(split["train"] + split["test"]) == [image.name for image in images]
    assert split["val"] == []
    # Of the two machines none, for it takes two to learn from.
    assert len(split["test"]) == 2
    assert {"6.png", "7.png"} <= set(split["train"])
    assert set(report_of(first)["train"]["after"]["categories"]) == {"creature", "machine"}
    other = train_on(images, Run.local(seed=3), test_share=0.4, training=short)
    assert report_of(other)["split"] != split


def test_without_images_to_test_maps_are_those_of_the_images_learned_from() -> None:
    images = [as_input(n, picture(n), known(keypoints(n))) for n in range(4)]
    found = train_on(images, test_share=0, max_maps=3, holdout_keypoints=HELD_OUT)
    assert sorted(maps_of(found).maps) == [(i, j) for i in range(3) for j in range(3) if i != j]
    assert set(report_of(found)) == {"split", "train", "held_out_keypoints"}
    assert points_of(report_of(found)["held_out_keypoints"]) == [12 * len(HELD_OUT)] * 2


def test_validation_images_choose_the_weights() -> None:
    images = [
        as_input(n, picture(n), known(keypoints(n), split="train" if n < 4 else "val" if n < 6 else "test"))
        for n in range(8)
    ]
    found = train_on(images)
    report, curve = report_of(found), found.tensors["training_curve"]
    assert set(report) == {"split", "val", "train", "test"}
    assert report["split"]["val"] == ["4.png", "5.png"]
    assert np.isfinite(curve[[0, -1], -1]).all()
    training: Any = found.documents[CONFIG]
    best = training["training"]["best_step"]
    assert curve[curve[:, 0] == best, -1] == np.nanmax(curve[:, -1])


def test_the_curve_has_a_row_for_every_step(result: MethodResult) -> None:
    curve = result.tensors["training_curve"]
    document: Any = result.documents[CONFIG]
    assert curve.shape == (3, len(document["training"]["curve_columns"]))
    assert curve[:, 0].tolist() == [1, 2, 3]
    assert np.isfinite(curve[:, 1:3]).all()


def test_the_adapter_and_what_it_is_for_become_artifacts(result: MethodResult, tmp_path: Path) -> None:
    exported = export(result, seven(), tmp_path)
    kinds = {draft.name: draft.kind for draft, _ in exported.artifacts}
    assert kinds[f"{WEIGHTS}.safetensors"] is ArtifactKind.ADAPTER
    assert kinds[f"{CONFIG}.json"] is ArtifactKind.ADAPTER_CONFIG
    assert kinds["pck_report.json"] is ArtifactKind.PCK_REPORT
    config = read_config(tmp_path)
    backbone = BACKBONES.get("dense_descriptor")
    assert (config.backbone, config.backbone_identity) == ("dense_descriptor", backbone.identity)
    assert (config.width, config.grid) == (32, 16)
    assert config.training["held_out_keypoints"] == HELD_OUT
    assert config.training["steps"] == 3


def test_an_adapter_is_read_as_it_was_written(result: MethodResult, folder: Path) -> None:
    adapter, config = read_adapter(folder, CHANNELS)
    assert json.loads(config.model_dump_json()) == result.documents[CONFIG]
    state = adapter.state_dict()
    assert sum(tensor.numel() for tensor in state.values()) == sum(array.size for array in weights_of(result).values())
    for one, other in zip(
        sorted(state.values(), key=signature), sorted(tensors_of(result), key=signature), strict=True
    ):
        assert torch.equal(one, other)
    with pytest.raises(ValueError, match="channels"):
        read_adapter(folder, (*CHANNELS, 4))
    with pytest.raises(FileNotFoundError):
        read_adapter(folder / "pictures", CHANNELS)


def tensors_of(result: MethodResult) -> list[torch.Tensor]:
    return [torch.from_numpy(np.asarray(array)) for array in weights_of(result).values()]


def signature(tensor: torch.Tensor) -> tuple[int, ...]:
    """What tells tensors apart, however they are called."""
    return (*tensor.shape, int(tensor.double().sum().mul(1e6)))


def match_with(folder: Path | None, images: list[InputImage], **changed: Any) -> MethodResult:
    """Match pictures through an adapter, or without."""
    asked = {"adapter": "job_01k8zd6c2q4x7v9m3n5p8r0s1t"} if folder else {"window": 2}
    given = GeoAwareParams.model_validate({**BASE, "variants": ["id"], **asked, **changed})
    return GeoAware(BACKBONES).run(images, given, using(folder, "adapter") if folder else Run.local())


def test_an_adapter_serves_the_matching_as_it_served_its_own_report(result: MethodResult, folder: Path) -> None:
    images = seven()[4:6]
    found, trained = maps_of(match_with(folder, images)), maps_of(result)
    for pair, own in (((0, 1), TEST), ((1, 0), TEST[::-1])):
        assert distances(found.maps[pair], trained.maps[own]).max() < 0.01
        np.testing.assert_allclose(found.confidence[pair], trained.confidence[own], atol=1e-4)
    plain = maps_of(match_with(None, images))
    assert np.median(distances(plain.maps[0, 1], found.maps[0, 1])) > 0.01


def test_with_an_adapter_mirrored_pictures_are_tried_unless_told_otherwise(folder: Path) -> None:
    given = GeoAwareParams.model_validate({**BASE, "adapter": "job_01k8zd6c2q4x7v9m3n5p8r0s1t"})
    images = [as_input(0, picture(0)), as_input(1, picture(0)[:, ::-1].copy())]
    found = GeoAware(BACKBONES).run(images, given, using(folder, "adapter"))
    document: Any = found.documents["pairs"]
    assert document["variants"] == ["id", "flip"]
    assert {row["variant"] for row in document["pairs"]} == {"flip"}


def test_an_adapter_of_other_features_is_refused(folder: Path) -> None:
    with pytest.raises(ValueError, match="the adapter is for blocks of"):
        match_with(folder, seven()[4:6], backbone="embedded")


def test_a_training_goes_on_from_another(result: MethodResult, folder: Path) -> None:
    gentle = {"steps": 1, "learning_rate": 1e-9}
    start = {"start": "job_01k8zd6c2q4x7v9m3n5p8r0s1t", "training": gentle, "holdout_keypoints": HELD_OUT}
    found = train_on(seven(), using(folder, "start", seed=5), **start)
    afresh = train_on(seven(), Run.local(seed=5), training=gentle, holdout_keypoints=HELD_OUT)
    before = weights_of(result)
    for name, array in weights_of(found).items():
        np.testing.assert_allclose(array, before[name], atol=1e-6)
    assert max(np.abs(array - before[name]).max() for name, array in weights_of(afresh).items()) > 0.01


def test_a_checkpoint_leads_to_the_same_result(result: MethodResult) -> None:
    recorder = Recorder()
    assert are_same(result, train_on(seven(), recorder.run(), holdout_keypoints=HELD_OUT))
    assert recorder.stages == ["features", "training", "matching"]
    assert len(recorder.checkpoints) >= 3
    resumed = train_on(seven(), Recorder().run(resume=recorder.checkpoints[0]), holdout_keypoints=HELD_OUT)
    assert are_same(result, resumed)
    assert resumed.documents == result.documents
    np.testing.assert_array_equal(resumed.tensors["training_curve"], result.tensors["training_curve"])
    for pair, points in maps_of(result).maps.items():
        np.testing.assert_array_equal(maps_of(resumed).maps[pair], points)


@pytest.mark.parametrize("stage", ["features", "training", "matching"])
def test_cancel_stops_it(stage: str) -> None:
    recorder = Recorder(stop_at=stage)
    with pytest.raises(JobCanceled):
        train_on(seven(), recorder.run())
    assert recorder.stages[-1] == stage


def test_sides_need_not_be_known_where_nothing_is_mirrored() -> None:
    sideless = SCHEMA.model_copy(update={"mirror_pairs": None})
    images = []
    for image in seven():
        annotation = image.annotation
        images.append(replace(image, annotation=annotation and replace(annotation, schema=sideless)))
    unmirrored = {"double_flip": 0, "self_flip": 0, "single_flip": 0}
    assert are_same(train_on(images, training=unmirrored), train_on(seven(), training=unmirrored))


@pytest.mark.parametrize("count", [2, 3])
def test_a_few_images_suffice_to_learn_from(count: int) -> None:
    images = [as_input(n, picture(n), known(keypoints(n))) for n in range(count)]
    found = train_on(images, test_share=0, training={"steps": 1})
    assert points_of(report_of(found)["train"]) == [count * (count - 1) * len(NAMES)] * 2


def test_images_of_which_nothing_can_be_learned_are_refused() -> None:
    tested = [as_input(n, picture(n), known(keypoints(n), split="test")) for n in range(3)]
    with pytest.raises(UnfitImagesError, match="'train'"):
        train_on(tested)
    halves = (tuple(range(6)), tuple(range(6, 12)))
    apart = [as_input(n, picture(n), known(keypoints(n), hidden=half)) for n, half in enumerate(halves)]
    with pytest.raises(UnfitImagesError, match="keypoint in common"):
        train_on(apart)
