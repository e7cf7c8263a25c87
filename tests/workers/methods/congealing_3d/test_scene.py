from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from api_schemas.methods.congealing_3d import Congealing3dParams
from tests.workers.methods.congealing_3d.photographs import CPU, inputs
from workers.evaluation.place_oracle import oracle_provider
from workers.evaluation.shape_set import ShapeSet
from workers.methods.base import Annotation, InputImage, UnfitImagesError
from workers.methods.congealing_3d.scene import Scene, set_scene
from workers.methods.features import Heartbeat
from workers.run_context import Run


def scene(images: list[InputImage], **params: Any) -> Scene:
    asked = Congealing3dParams.model_validate({"backbone": "embedded", "cells": 16, **params})
    return set_scene(oracle_provider(), images, asked, Heartbeat(Run.local()), seed=0, device=CPU)


def test_objects_are_cut_out_by_their_masks(made: ShapeSet) -> None:
    found = scene(inputs(made))
    assert found.shown == list(range(6))
    assert found.masks is not None
    assert found.crops.masks is not None
    assert found.crops.pictures.shape == (6, 3, 64, 64)
    np.testing.assert_array_equal(found.masks[3] > 0.5, made.masks[3])
    assert found.aspects.tolist() == pytest.approx([1.2] * 6)
    assert found.problems == [[]] * 6
    assert found.is_tight.all()


@pytest.mark.parametrize(("saliency", "masked"), [("none", True), ("auto", False)])
def test_without_masks_the_whole_pictures_count(made: ShapeSet, saliency: str, *, masked: bool) -> None:
    found = scene(inputs(made, masked=masked), saliency=saliency)
    assert found.masks is None
    assert found.crops.masks is None
    assert found.crops.windows[0].tolist() == pytest.approx([0, 0, 1.2 * 1.02])
    assert not found.is_tight.any()


def test_a_box_tells_where_the_object_is_even_if_it_fills_the_picture(made: ShapeSet) -> None:
    boxless, boxed = inputs(made, masked=False)[:2]
    whole = Annotation(category="animal", schema=None, keypoints=np.zeros((0, 3)), box=(0, 0, 192, 160))
    assert scene([boxless, replace(boxed, annotation=whole)]).is_tight.tolist() == [False, True]


def test_images_whose_mask_is_empty_or_tiny_are_left_out_and_full_ones_kept(made: ShapeSet) -> None:
    first, second, third, fourth = inputs(made)[:4]
    tiny = np.zeros_like(second.mask)
    tiny[:10, :10] = 255
    images = [
        replace(first, mask=np.zeros_like(first.mask)),
        replace(second, mask=tiny),
        third,
        replace(fourth, mask=np.full_like(fourth.mask, 255)),
    ]
    found = scene(images)
    assert found.shown == [2, 3]
    assert found.problems == [["mask_too_small"], ["mask_too_small"], [], ["mask_full"]]
    assert len(found.crops.windows) == len(found.aspects) == 2
    with pytest.raises(UnfitImagesError, match="no mask covers 1% of its image"):
        scene(images[:2])


def test_a_mask_of_another_size_is_refused(made: ShapeSet) -> None:
    first, second = inputs(made)[:2]
    assert second.mask is not None
    with pytest.raises(ValueError, match=r"mask of 1\.png is 96 x 80 pixels, its image 192 x 160; give one of"):
        scene([first, replace(second, mask=second.mask[::2, ::2])])


def test_a_missing_mask_among_others_is_refused(made: ShapeSet) -> None:
    first, second = inputs(made)[:2]
    with pytest.raises(ValueError, match=r"1\.png has no mask; give masks for all images or for none"):
        scene([first, replace(second, mask=None)])
