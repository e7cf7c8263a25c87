from dataclasses import replace
from functools import cache

import numpy as np
import pytest
import torch
from scipy import ndimage

from alignment.mesh import Mesh
from workers.evaluation.procedural_shapes import animal
from workers.evaluation.shape_set import ShapeSet, drawn_set
from workers.geometry.cameras import Cameras
from workers.rendering.canonical_places import places_picture
from workers.rendering.overlay import MASK_LINE, SHAPE_LINE, OverlaidShape, overlay, overlay_without_pose
from workers.rendering.surface import Surface

SIZE = (150, 120)
SIDE = 300


@cache
def drawn() -> ShapeSet:
    return drawn_set([animal(0)], 1, 8, size=SIZE)


@cache
def shape() -> OverlaidShape:
    return OverlaidShape.of(Surface.of(animal(0).mesh))


def user_mask() -> np.ndarray:
    return drawn().masks[0].astype(np.uint8) * 255


def near(picture: np.ndarray, colour: tuple[int, int, int]) -> np.ndarray:
    return np.abs(picture.astype(int) - colour).max(axis=-1) < 40


def border(mask: np.ndarray) -> np.ndarray:
    large = np.kron(mask, np.ones((2, 2))) > 0
    return large ^ ndimage.binary_erosion(large)


def to_border(line: np.ndarray) -> np.ndarray:
    away = ndimage.distance_transform_edt(~border(drawn().masks[0]))
    return np.asarray(away[line])


def test_the_true_camera_s_outline_runs_along_the_object_s() -> None:
    picture = overlay(drawn().pictures[0], shape(), drawn().cameras.as_results()[0], side=SIDE)
    assert picture.shape == (240, 300, 3)
    line = near(picture, SHAPE_LINE)
    assert line.sum() > 300
    assert np.quantile(to_border(line), 0.98) < 4
    assert not near(picture, MASK_LINE).any()


def test_the_mask_s_outline_is_drawn_where_the_shape_is_not() -> None:
    camera = drawn().cameras
    aside = Cameras(camera.rotation, camera.translation + torch.tensor([[0.1, 0.0, 0.0]]), camera.focal)
    picture = overlay(drawn().pictures[0], shape(), aside.as_results()[0], user_mask(), side=SIDE)
    assert near(picture, SHAPE_LINE).sum() > 300
    mask_line = near(picture, MASK_LINE)
    assert mask_line.sum() > 200
    assert np.quantile(to_border(mask_line), 0.98) < 4
    assert np.median(to_border(near(picture, SHAPE_LINE))) > 4


def test_the_image_stays_as_it_is_away_from_the_shape() -> None:
    grey = np.full((SIZE[1], SIZE[0], 3), 90, dtype=np.uint8)
    picture = overlay(grey, shape(), drawn().cameras.as_results()[0], side=SIDE)
    far = ndimage.distance_transform_edt(~(np.kron(drawn().masks[0], np.ones((2, 2))) > 0)) > 8
    assert (picture[far] == 90).all()
    assert (picture[~far] != 90).any(axis=-1).mean() > 0.6


def test_a_fine_mesh_gets_a_coarse_wire_and_a_coarse_one_its_own() -> None:
    assert 300 < len(shape().wire.faces) <= 1000
    corners = np.array([[0, 0, 0], [0.4, 0, 0], [0, 0.4, 0], [0, 0, 0.4]], dtype=np.float32)
    faces = np.array([[0, 2, 1], [0, 1, 3], [0, 3, 2], [1, 2, 3]], dtype=np.int32)
    surface = Surface.of(Mesh(corners, faces))
    assert OverlaidShape.of(surface).wire is surface


def test_the_triangles_can_be_seen() -> None:
    white = replace(animal(0).mesh, colours=np.full((len(animal(0).mesh.vertices), 3), 255, dtype=np.uint8))
    paper = np.full((SIZE[1], SIZE[0], 3), 255, dtype=np.uint8)
    picture = overlay(paper, OverlaidShape.of(Surface.of(white)), drawn().cameras.as_results()[0], side=SIDE)
    inside = ndimage.distance_transform_edt(np.kron(drawn().masks[0], np.ones((2, 2))) > 0) > 6
    darkened = 255 - picture[inside].astype(int).mean(axis=-1)
    assert 0.05 < (darkened > 8).mean() < 0.8
    assert darkened.max() < 60


def test_an_image_without_a_pose_is_dark_and_keeps_its_mask() -> None:
    plain = overlay_without_pose(drawn().pictures[0], side=SIDE)
    assert plain.max() < 100
    assert plain.shape == (240, 300, 3)
    line = near(overlay_without_pose(drawn().pictures[0], user_mask(), side=SIDE), MASK_LINE)
    assert line.sum() > 300
    assert np.quantile(to_border(line), 0.98) < 4


@pytest.mark.parametrize("value", [0, 255])
def test_an_empty_or_full_mask_has_no_outline(value: int) -> None:
    mask = np.full((SIZE[1], SIZE[0]), value, dtype=np.uint8)
    assert not near(overlay_without_pose(drawn().pictures[0], mask), MASK_LINE).any()


def test_places_are_coloured_by_their_coordinates_and_nothing_is_white() -> None:
    places = np.array([[[-0.5, 0.0, 0.5], [np.nan] * 3, [0.7, -0.7, 0.1]]], dtype=np.float32)
    assert places_picture(places).tolist() == [[[0, 128, 255], [255, 255, 255], [255, 0, 153]]]
