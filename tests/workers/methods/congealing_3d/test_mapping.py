from dataclasses import replace

import numpy as np
import pytest
import torch

from tests.workers.methods.congealing_3d.photographs import inputs, scene_of
from workers.backbones.base import no_tick
from workers.evaluation.shape_set import ShapeSet
from workers.methods.congealing_3d.mapping import map_shape, nowhere, place_images
from workers.methods.congealing_3d.pose.bank import Bank, SurfaceReader
from workers.methods.congealing_3d.pose.observation import Observations


def test_maps_have_the_shape_of_their_pictures() -> None:
    assert map_shape(400, 300, 256) == (192, 256)
    assert map_shape(300, 400, 256) == (256, 192)
    assert map_shape(5000, 10, 64) == (1, 64)
    assert map_shape(7, 7, 64) == (64, 64)


def test_nowhere_is_nan_without_any_confidence() -> None:
    found = nowhere(400, 300, 64)
    assert found.coordinates.shape == (48, 64, 3)
    assert found.coordinates.dtype == found.confidence.dtype == np.float32
    assert np.isnan(found.coordinates).all()
    assert not found.confidence.any()


@pytest.mark.parametrize(("masked", "warp"), [(True, True), (True, False), (False, False)])
def test_cells_get_the_places_they_show(
    made: ShapeSet, seen: Observations, reader: SurfaceReader, bank: Bank, *, masked: bool, warp: bool
) -> None:
    scene = scene_of(inputs(made, masked=masked)[:2])
    observations = seen[:2] if masked else replace(seen[:2], masks=None)
    ticks: list[int] = []
    placed = place_images(
        scene,
        observations,
        made.cameras[:2],
        reader,
        bank.projection,
        side=192,
        warp=warp,
        tick=lambda: ticks.append(0),
    )
    assert len(placed) == 2
    assert len(ticks) >= 2
    for index, found in enumerate(placed):
        assert found.coordinates.shape == (160, 192, 3)
        known = np.isfinite(found.coordinates).all(axis=-1)
        truth = made.masks[index]
        assert (known & truth).sum() / (known | truth).sum() > 0.9
        errors = np.linalg.norm(found.coordinates - made.coordinates[index], axis=-1)[known & truth]
        assert np.median(errors) < 0.015
        assert found.confidence[known].mean() > 0.7
        assert not found.confidence[~known].any()


def test_places_are_nothing_where_the_mask_shows_nothing(
    made: ShapeSet, seen: Observations, reader: SurfaceReader, bank: Bank
) -> None:
    scene = scene_of(inputs(made)[:1])
    assert scene.masks is not None
    scene.masks[0][:, :96] = 0
    [found] = place_images(
        scene, seen[:1], made.cameras[:1], reader, bank.projection, side=96, warp=False, tick=no_tick
    )
    assert np.isnan(found.coordinates[:, :48]).all()
    assert np.isfinite(found.coordinates[:, 48:]).any()
    assert torch.from_numpy(found.confidence[:, :48]).abs().max() == 0
