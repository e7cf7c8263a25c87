import numpy as np
import pytest

from alignment.pairwise import PairwiseMaps
from api_schemas.methods.nearest_neighbors import NearestNeighborsParams
from tests.workers.methods.drawn import INDICES, creatures, pictures
from tests.workers.methods.recorder import Recorder
from workers.backbones.registry import BackboneProvider
from workers.methods.base import MethodResult
from workers.methods.nearest_neighbors.pipeline import NearestNeighbors
from workers.run_context import JobCanceled, Run

PARAMS = NearestNeighborsParams(backbone="dense_descriptor", working_size=128)


def match(run: Run) -> MethodResult:
    return NearestNeighbors(BackboneProvider()).run(pictures(), PARAMS, run)


@pytest.fixture(scope="module")
def result() -> MethodResult:
    return match(Run.local())


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


@pytest.mark.parametrize("stage", ["features", "matching"])
def test_cancel_stops_it(stage: str) -> None:
    recorder = Recorder(stop_at=stage)
    with pytest.raises(JobCanceled):
        match(recorder.run())
    assert recorder.stages[-1] == stage
