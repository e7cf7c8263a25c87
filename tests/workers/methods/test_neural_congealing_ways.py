"""Ways to run the method other than the plain one: networks, masks, a reference image, further images."""

from dataclasses import replace
from functools import cache

import numpy as np
import pytest

from alignment.atlas import Atlas
from alignment.sampling import cell_centres
from api_schemas.methods.neural_congealing import NetworkParams, NeuralCongealingParams
from tests.workers.methods.drawn import INDICES, creatures, pictures
from tests.workers.methods.recorder import Recorder
from workers.backbones.registry import BackboneProvider
from workers.methods.base import BaseResult, InputImage, MethodResult
from workers.methods.neural_congealing.pipeline import NeuralCongealing
from workers.run_context import JobCanceled, Run

PARAMS = NeuralCongealingParams(
    backbone="dense_descriptor", working_size=128, atlas_size=64, similarity_steps=12, flow_steps=12
)
NEW = 4


def congeal(images: list[InputImage], run: Run | None = None, **changes: object) -> MethodResult:
    params = NeuralCongealingParams.model_validate(PARAMS.model_dump() | changes)
    return NeuralCongealing(BackboneProvider()).run(images, params, run or Run.local())


def atlas_of(result: MethodResult) -> Atlas:
    assert isinstance(result.form, Atlas)
    return result.form


@cache
def finished() -> BaseResult:
    result = congeal(pictures())
    return BaseResult(form=result.form, tensors=result.tensors, scores=result.scores)


def extended(images: list[InputImage], run: Run | None = None) -> MethodResult:
    return NeuralCongealing(BackboneProvider()).extend(finished(), images, PARAMS, run or Run.local())


def test_networks_yield_all_that_the_direct_mode_does() -> None:
    training = NetworkParams(bootstrap_epochs=2, flow_epochs=1, batch=4, width=0.0625)
    recorder = Recorder()
    result = congeal(pictures(), recorder.run(), mode="network", network=training.model_dump())
    assert recorder.stages == ["features", "similarity", "flow"]
    plain = finished()
    assert set(result.tensors) == set(plain.tensors)
    assert all(set(row) == set(plain.scores[0]) for row in result.scores)
    for backward in atlas_of(result).from_canonical:
        assert np.isfinite(backward).all()


def test_given_masks_say_where_the_object_is() -> None:
    drawn = creatures()
    images = pictures()
    masks = [(drawn.image_masks[index, 0] * 255).astype(np.uint8) for index in INDICES]
    masks[0] = masks[0][: images[0].height]
    result = congeal([replace(image, mask=mask) for image, mask in zip(images, masks, strict=True)])
    saliency = result.tensors["atlas_saliency"]
    assert ((saliency > 0.9) | (saliency < 0.1)).mean() > 0.8
    assert len(result.image_pictures["congealed_mask"]) == len(images)


def test_a_mask_of_another_size_is_named() -> None:
    images = pictures()
    masked = [replace(image, mask=np.full((40, 40), 255, np.uint8)) for image in images]
    with pytest.raises(ValueError, match=rf"mask of {images[0].name} has shape \(40, 40\)"):
        congeal(masked)


def test_the_reference_image_is_the_atlas() -> None:
    result = congeal(pictures(mirrored=(1,)), reference_image=1)
    backward = atlas_of(result).from_canonical[1]
    assert np.allclose(backward, cell_centres(64, 64, np.array([256.0, 256.0])), atol=1e-2)
    assert [row["mirrored"] for row in result.scores] == [True, False, True, True]


def test_a_new_image_joins_and_the_others_stay_as_they_were() -> None:
    images = [*pictures(), *pictures(mirrored=(NEW,), indices=(NEW,))]
    result = extended(images)
    old, new = finished(), atlas_of(result)
    assert isinstance(old.form, Atlas)
    for index in range(len(INDICES)):
        assert np.array_equal(new.from_canonical[index], old.form.from_canonical[index])
        assert np.array_equal(new.to_canonical[index], old.form.to_canonical[index], equal_nan=True)
        assert result.scores[index] == old.scores[index]
    assert result.scores[-1]["mirrored"]
    assert not result.scores[-1]["outlier"]
    truth = creatures((NEW,)).keypoints
    errors = [
        np.linalg.norm(new.transfer(truth[source], source=position, target=NEW).points - truth[NEW], axis=1)
        for position, source in enumerate(INDICES)
    ]
    assert np.nanmedian(np.concatenate(errors)) < 8


def test_a_new_image_without_the_object_is_told() -> None:
    noise = np.random.default_rng(0).integers(0, 255, (64, 64, 3), dtype=np.uint8).repeat(4, axis=0).repeat(4, axis=1)
    result = extended([*pictures(), InputImage("noise.png", noise)])
    assert [row["outlier"] for row in result.scores] == [False, False, False, False, True]


def test_adding_an_image_goes_on_from_a_checkpoint() -> None:
    images = [*pictures(), *pictures(indices=(NEW,))]
    recorder = Recorder(stop_at="flow")
    with pytest.raises(JobCanceled):
        extended(images, recorder.run())
    resumed = atlas_of(extended(images, Recorder().run(resume=recorder.checkpoints[-1])))
    undisturbed = atlas_of(extended(images))
    assert np.array_equal(resumed.from_canonical[-1], undisturbed.from_canonical[-1])
