"""The presets that train the paper's network, at tiny sizes, from end to end."""

from functools import cache

import numpy as np
import pytest

from alignment.atlas import Atlas
from alignment.scores import pck
from api_schemas.methods.asic import AsicParams, NetworkParams, Preset
from tests.workers.methods.masked import annotated, masked_pictures
from tests.workers.methods.recorder import Recorder
from workers.backbones.registry import BackboneProvider
from workers.methods.asic.pipeline import Asic
from workers.methods.base import MethodResult
from workers.run_context import Run

TWO = (0, 6)
NETWORK = NetworkParams(iterations=2, batch=2, width=0.0625, image_size=64, reconstruction="pixels")
PARAMS = AsicParams(backbone="embedded", working_size=128, atlas_size=64, num_parts=2, network=NETWORK)
TRAINED = pytest.mark.parametrize("preset", ["quality", "parity"])


def aligned(run: Run, preset: Preset) -> MethodResult:
    params = PARAMS.model_copy(update={"preset": preset})
    return Asic(BackboneProvider()).run(masked_pictures(TWO), params, run)


def atlas_of(result: MethodResult) -> Atlas:
    assert isinstance(result.form, Atlas)
    return result.form


@cache
def trained(preset: Preset) -> tuple[MethodResult, Recorder]:
    recorder = Recorder()
    return aligned(recorder.run(), preset), recorder


@TRAINED
def test_training_comes_last_and_leaves_its_grid_and_curve(preset: Preset) -> None:
    result, recorder = trained(preset)
    assert recorder.stages == ["features", "maps", "parts", "network"]
    assert len(recorder.checkpoints) == 2
    curve = result.tensors["training_curve"]
    assert curve.shape[1] == 3
    assert curve[-1, 0] == 2
    assert np.isfinite(curve[-1, 1])
    assert result.pictures["pictures/canonical_grid_learned"].shape == (64, 64, 4)
    for forward in atlas_of(result).to_canonical:
        assert np.isfinite(forward).all()


@TRAINED
def test_resumed_training_ends_as_the_undisturbed_one(preset: Preset) -> None:
    result, recorder = trained(preset)
    resumed = aligned(Recorder().run(resume=recorder.checkpoints[0]), preset)
    for name in ("to_canonical", "from_canonical", "confidence"):
        for before, after in zip(getattr(result.form, name), getattr(resumed.form, name), strict=True):
            assert np.array_equal(before, after, equal_nan=True)
    assert np.array_equal(result.tensors["training_curve"], resumed.tensors["training_curve"], equal_nan=True)
    assert result.scores == resumed.scores


def test_quality_begins_with_the_matches_and_parity_with_the_identity() -> None:
    scores = {
        preset: pck(trained(preset)[0].form, annotated(TWO), [0.05]).scores[0] for preset in ("quality", "parity")
    }
    assert scores["quality"].per_point > 0.9
    assert scores["parity"].per_point < 0.5
    explained = {preset: trained(preset)[0].set_scores["consistency"] for preset in ("quality", "parity")}
    assert explained["quality"] > 0.9
    assert explained["parity"] < 0.5


def test_the_planes_of_network_and_result_are_the_same() -> None:
    """Two steps hardly move anything: from its first to its last cell's centre, a whole picture spans 127 / 128."""
    forward = atlas_of(trained("parity")[0]).to_canonical[1]
    across = forward[:, -1, 0] - forward[:, 0, 0]
    down = forward[-1, :, 1] - forward[0, :, 1]
    assert [across.mean(), down.mean()] == pytest.approx([127 / 128] * 2, abs=0.005)
