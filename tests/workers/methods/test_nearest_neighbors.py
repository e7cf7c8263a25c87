from pathlib import Path

import numpy as np
import pytest
import torch

from alignment.pairwise import PairwiseMaps
from api_schemas.methods.nearest_neighbors import NearestNeighborsParams
from tests.workers.methods.drawn import INDICES, creatures, pictures
from tests.workers.methods.recorder import Recorder
from workers.backbones.registry import BackboneProvider
from workers.methods.base import MethodResult
from workers.methods.export import export
from workers.methods.nearest_neighbors import pairs, pipeline
from workers.methods.nearest_neighbors.pipeline import NearestNeighbors, match_options
from workers.run_context import JobCanceled, Run

PARAMS = NearestNeighborsParams(backbone="dense_descriptor", working_size=128)


def match(run: Run, params: NearestNeighborsParams = PARAMS) -> MethodResult:
    return NearestNeighbors(BackboneProvider()).run(pictures(), params, run)


@pytest.fixture(scope="module")
def result() -> MethodResult:
    return match(Run.local())


def changed(**params: object) -> NearestNeighborsParams:
    return NearestNeighborsParams.model_validate({**PARAMS.model_dump(), **params})


def assert_resumed(
    straight: MethodResult, state: dict[str, torch.Tensor], monkeypatch: pytest.MonkeyPatch, *, matched: int
) -> None:
    """A run that goes on from `state` matches so many pairs, and ends bit by bit as one that was never disturbed."""
    calls: list[int] = []
    plain = pipeline.match_maps

    def counted(*args: object, **options: object) -> object:
        calls.append(1)
        return plain(*args, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(pipeline, "match_maps", counted)
    resumed, form = form_of(match(Recorder().run(resume=state))), form_of(straight)
    assert len(calls) == matched
    assert set(resumed.maps) == set(form.maps)
    for pair in form.maps:
        np.testing.assert_array_equal(resumed.maps[pair], form.maps[pair])
        np.testing.assert_array_equal(resumed.confidence[pair], form.confidence[pair])


def form_of(result: MethodResult) -> PairwiseMaps:
    assert isinstance(result.form, PairwiseMaps)
    return result.form


def test_every_ordered_pair_has_a_map_over_the_whole_image(result: MethodResult) -> None:
    form = form_of(result)
    assert len(form.maps) == 12
    assert form.maps[0, 1].shape == (27, 32, 2)
    assert form.maps[1, 0].shape == (32, 32, 2)
    for (i, j), points in form.maps.items():
        extent = form.images[j].extent
        assert np.isfinite(points).all()
        assert (points >= 0).all()
        assert (points <= extent).all()
        confidence = form.confidence[i, j]
        assert confidence.shape == points.shape[:2]
        assert confidence.min() >= 0
        assert confidence.max() <= 1
    assert result.backbone == "dense_descriptor"


def test_most_keypoints_land_close(result: MethodResult) -> None:
    form, drawn = form_of(result), creatures()
    errors, trust = [], []
    for i, source in enumerate(INDICES):
        for j, target in enumerate(INDICES):
            if i != j:
                carried = form.transfer(drawn.keypoints[source], source=i, target=j)
                errors.append(np.linalg.norm(carried.points - drawn.keypoints[target], axis=1))
                trust.append(carried.confidence)
    error, confidence = np.concatenate(errors), np.concatenate(trust)
    assert np.mean(error < 25) > 0.6
    sure = confidence > np.median(confidence)
    assert np.mean(error[sure] < 25) > np.mean(error[~sure] < 25)


def test_same_images_give_the_same_maps(result: MethodResult) -> None:
    again, form = form_of(match(Run.local(seed=5))), form_of(result)
    assert all(np.array_equal(again.maps[pair], form.maps[pair]) for pair in form.maps)


@pytest.mark.parametrize("matcher", ["soft_argmax", "window_soft_argmax"])
def test_soft_matchers_stay_near_the_hard_one(result: MethodResult, matcher: str) -> None:
    soft = form_of(match(Run.local(), changed(matcher=matcher)))
    gaps = [np.linalg.norm(soft.maps[pair] - points, axis=-1) for pair, points in form_of(result).maps.items()]
    assert 0 < np.median(np.concatenate([gap.ravel() for gap in gaps])) < 16


def test_what_is_filtered_out_has_no_place(result: MethodResult, tmp_path: Path) -> None:
    filtered = match(Run.local(), changed(mutual_only=True, ratio=0.95))
    form, every = form_of(filtered), form_of(result)
    shares = []
    for pair, points in form.maps.items():
        kept = np.isfinite(points).all(axis=-1)
        shares.append(kept.mean())
        assert (form.confidence[pair][~kept] == 0).all()
        np.testing.assert_array_equal(points[kept], every.maps[pair][kept])
    assert min(shares) > 0
    assert max(shares) < 1
    nowhere = form.images[0].extent * (np.argwhere(np.isnan(form.maps[0, 1][..., 0]))[:1, ::-1] + 0.5) / (32, 27)
    carried = form.transfer(nowhere, source=0, target=1)
    assert np.isnan(carried.points).all()
    assert carried.confidence.tolist() == [0]
    exported = export(filtered, pictures(), tmp_path)
    assert 0 < exported.self_check["coverage"] < 1  # type: ignore[operator]


def test_parameters_reach_the_matching() -> None:
    options = match_options(changed(matcher="window_soft_argmax", window=3, temperature=0.1, ratio=0.9))
    assert options.softness is not None
    assert (options.softness.window, options.softness.temperature) == (3, 0.1)
    assert options.ratio == 0.9
    assert match_options(changed(subpixel=False)).softness is None
    assert not match_options(changed(subpixel=False)).subpixel


@pytest.mark.parametrize(
    "wrong",
    [
        {"matcher": "mutual"},
        {"window": 0},
        {"window": 49},
        {"temperature": 0},
        {"temperature": float("nan")},
        {"ratio": 0},
        {"ratio": 1.5},
        {"ratio": float("nan")},
        {"working_size": 100},
    ],
)
def test_wrong_parameters_are_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=next(iter(wrong))):
        NearestNeighborsParams.model_validate(wrong)


@pytest.mark.parametrize("stage", ["features", "matching"])
def test_cancel_stops_it(stage: str) -> None:
    recorder = Recorder(stop_at=stage)
    with pytest.raises(JobCanceled):
        match(recorder.run())
    assert recorder.stages[-1] == stage


def states() -> list[dict[str, torch.Tensor]]:
    """The checkpoints of a run, one of each length, shortest first."""
    recorder = Recorder()
    match(recorder.run())
    return list({len(state): state for state in recorder.checkpoints}.values())


def test_a_run_that_is_stopped_within_a_pair_keeps_those_before(
    result: MethodResult, monkeypatch: pytest.MonkeyPatch
) -> None:
    recorder = Recorder()
    plain = pipeline.match_maps

    def stopped_in_the_fourth(*args: object, **options: object) -> object:
        if any(len(state) == 6 for state in recorder.checkpoints):
            recorder.stop.request(checkpoint=True)
        return plain(*args, **options)  # type: ignore[arg-type]

    with monkeypatch.context() as patch:
        patch.setattr(pipeline, "match_maps", stopped_in_the_fourth)
        with pytest.raises(JobCanceled):
            match(recorder.run())
    assert sorted(recorder.checkpoints[-1]) == ["0-1", "0-2", "0-3", "1-0", "2-0", "3-0"]
    assert_resumed(result, recorder.checkpoints[-1], monkeypatch, matched=3)


@pytest.mark.parametrize("done", [1, 6])
def test_every_checkpoint_leads_to_the_same_maps(
    result: MethodResult, monkeypatch: pytest.MonkeyPatch, done: int
) -> None:
    saved = states()
    assert [len(state) for state in saved] == [2, 4, 6, 8, 10, 12]
    assert_resumed(result, saved[done - 1], monkeypatch, matched=6 - done)


def test_a_checkpoint_holds_no_more_than_it_may(result: MethodResult, monkeypatch: pytest.MonkeyPatch) -> None:
    cells = sum(array.size for array in list(form_of(result).confidence.values())[:5])
    monkeypatch.setattr(pairs, "CHECKPOINT_BYTES", 12 * cells)
    saved = states()
    assert [len(state) for state in saved] == [2, 4, 5]
    assert_resumed(result, saved[-1], monkeypatch, matched=4)
