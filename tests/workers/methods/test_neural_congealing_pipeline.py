from functools import cache

import numpy as np
import pytest

from alignment.atlas import Atlas
from api_schemas.methods.neural_congealing import NeuralCongealingParams
from tests.workers.methods.drawn import INDICES, creatures, pictures
from tests.workers.methods.recorder import Recorder
from workers.backbones.registry import BackboneProvider
from workers.methods.base import MethodResult
from workers.methods.neural_congealing.pipeline import NeuralCongealing
from workers.run_context import JobCanceled, Run

PARAMS = NeuralCongealingParams(
    backbone="dense_descriptor", working_size=128, atlas_size=64, similarity_steps=12, flow_steps=12
)


def congeal(run: Run, *, mirrored: tuple[int, ...] = ()) -> MethodResult:
    return NeuralCongealing(BackboneProvider()).run(pictures(mirrored=mirrored), PARAMS, run)


@cache
def plain() -> tuple[MethodResult, Recorder]:
    recorder = Recorder()
    return congeal(recorder.run()), recorder


def atlas_of(result: MethodResult) -> Atlas:
    assert isinstance(result.form, Atlas)
    return result.form


def assert_same(one: MethodResult, other: MethodResult) -> None:
    first, second = atlas_of(one), atlas_of(other)
    for index in range(len(INDICES)):
        assert np.array_equal(first.to_canonical[index], second.to_canonical[index], equal_nan=True)
        assert np.array_equal(first.from_canonical[index], second.from_canonical[index])
        assert np.array_equal(first.confidence[index], second.confidence[index])
    assert all(np.array_equal(one.pictures[name], other.pictures[name]) for name in one.pictures)
    assert all(np.array_equal(one.tensors[name], other.tensors[name]) for name in one.tensors)
    assert one.scores == other.scores


def median_error(form: Atlas, mirrored: tuple[int, ...] = ()) -> float:
    drawn = creatures(mirrored)
    errors = []
    for i, source in enumerate(INDICES):
        for j, target in enumerate(INDICES):
            if i != j:
                carried = form.transfer(drawn.keypoints[source], source=i, target=j).points
                errors.append(np.linalg.norm(carried - drawn.keypoints[target], axis=1))
    return float(np.median(np.nan_to_num(np.concatenate(errors), nan=256)))


def test_form_covers_the_uploaded_images() -> None:
    form = atlas_of(plain()[0])
    assert [(size.width, size.height) for size in form.images] == [(256, 216), *[(256, 256)] * 3]
    assert form.to_canonical[0].shape == (108, 128, 2)
    assert form.size == 64
    for forward, confidence in zip(form.to_canonical, form.confidence, strict=True):
        known = np.isfinite(forward[..., 0])
        assert known.mean() > 0.2
        assert forward[known].min() > -0.02
        assert forward[known].max() < 1.02
        assert confidence.shape == known.shape
        assert (confidence[~known] == 0).all()
        assert 0 < confidence.max() <= 1


def test_keypoints_are_carried_to_the_other_images() -> None:
    assert median_error(atlas_of(plain()[0])) < 8


def test_way_to_the_atlas_and_back_ends_where_it_began() -> None:
    form = atlas_of(plain()[0])
    points = creatures().keypoints[1]
    there = form.transfer(points, source=1, target=None)
    back = form.transfer(there.points, source=None, target=1)
    error = np.linalg.norm(back.points - points, axis=1)
    assert np.nanmax(error) < 1.0


def test_confidence_prefers_the_creature_to_the_background() -> None:
    form, drawn = atlas_of(plain()[0]), creatures()
    mask = drawn.image_masks[1, 0, ::2, ::2] > 0
    assert form.confidence[1][mask].mean() > form.confidence[1][~mask].mean()


def test_figures_and_pictures() -> None:
    result, recorder = plain()
    assert len(result.scores) == len(INDICES)
    assert not any(scores["mirrored"] for scores in result.scores)
    names = ("atlas", "atlas_masked", "atlas_pca", "atlas_pca_first", "atlas_saliency")
    assert set(result.pictures) == {f"pictures/{name}" for name in names}
    assert recorder.stages == ["features", "matches", "similarity", "flow"]


def test_same_seed_gives_the_same_result() -> None:
    assert_same(plain()[0], congeal(Recorder().run()))


@pytest.mark.parametrize("which", [0.3, -1])
def test_resumed_run_ends_as_the_undisturbed_one(which: float) -> None:
    result, recorder = plain()
    states = recorder.checkpoints
    assert len(states) > 10
    state = states[int(which * len(states)) if which >= 0 else -1]
    assert_same(result, congeal(Recorder().run(resume=state)))


def test_mirrored_picture_is_found_and_mapped_as_uploaded() -> None:
    mirrored = (2,)
    result = congeal(Recorder().run(), mirrored=mirrored)
    flags = [bool(scores["mirrored"]) for scores in result.scores]
    assert flags in ([False, False, True, False], [True, True, False, True])
    assert median_error(atlas_of(result), mirrored) < 10


@pytest.mark.parametrize("stage", ["features", "matches", "flow"])
def test_cancel_stops_it(stage: str) -> None:
    recorder = Recorder(stop_at=stage)
    with pytest.raises(JobCanceled):
        congeal(recorder.run())
    assert recorder.stages[-1] == stage
