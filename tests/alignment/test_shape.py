"""Points between images, texture and space, against a ball whose every place is known."""

from dataclasses import replace

import numpy as np
import pytest

from alignment.camera import Camera
from alignment.nearest_places import MAX_CELLS, NearestPlaces
from alignment.sampling import cell_centres
from alignment.shape import VISIBLE_WITHIN, Shape
from tests.alignment.shapes import RADIUS, SIZE, Float64, ball, hits, on_ball, on_texture, shown

BALL = ball()


def pixels(count: int = 4000, seed: int = 0) -> Float64:
    return np.random.default_rng(seed).uniform(0, 1, (count, 2)) * SIZE.extent


def surface(count: int = 4000, seed: int = 1) -> Float64:
    points = np.random.default_rng(seed).normal(size=(count, 3))
    return np.asarray(RADIUS * points / np.linalg.norm(points, axis=1, keepdims=True))


def camera_of(shape: Shape, index: int) -> Camera:
    camera = shape.cameras[index]
    assert camera is not None
    return camera


def facing(points: Float64, camera: Camera) -> Float64:
    """Cosines (P,) between the ball's normals and the directions to a camera."""
    towards = camera.to_world[:3, 3] - points
    return np.asarray(np.einsum("pc,pc->p", points / RADIUS, towards / np.linalg.norm(towards, axis=1, keepdims=True)))


def test_pixels_are_lifted_to_where_their_rays_meet_the_shape() -> None:
    places = pixels()
    lifted, truth = BALL.lift(places, source=0), hits(camera_of(BALL, 0), places)
    inner = facing(truth, camera_of(BALL, 0)) > 0.3
    assert inner.sum() > 500
    assert np.abs(lifted.points[inner] - truth[inner]).max() < 0.002
    assert lifted.confidence[inner] == pytest.approx(0.75)


def test_what_is_not_on_the_object_has_no_place_in_space() -> None:
    beside = np.array([[5.0, 5.0], [-3.0, 150.0], [np.nan, 10.0]])
    lifted = BALL.lift(beside, source=0)
    assert np.isnan(lifted.points).all()
    assert (lifted.confidence == 0).all()
    carried = BALL.transfer(beside, source=0, target=1)
    assert np.isnan(carried.points).all()
    assert (carried.confidence == 0).all()


@pytest.mark.parametrize("frame", [0, 1, None])
def test_points_come_back_from_space(frame: int | None) -> None:
    places = pixels() if frame is not None else np.random.default_rng(2).uniform(0, 1, (4000, 2))
    lifted = BALL.lift(places, source=frame)
    is_known = np.isfinite(lifted.points).all(axis=1)
    back = BALL.project(lifted.points[is_known], target=frame)
    error = np.linalg.norm(back.points - places[is_known], axis=1)
    if frame is None:
        # Left and right border of the texture show the same meridian.
        error = np.minimum(error, np.abs(error - 1)) * 128
    assert back.visible.mean() > 0.999
    assert np.median(error) < 0.02
    assert (error < 0.5).mean() > 0.97
    if frame is not None:
        inner = facing(lifted.points[is_known], camera_of(BALL, frame)) > 0.3
        assert error[inner].max() < 0.5


@pytest.mark.parametrize("target", [0, 2])
def test_places_are_projected_to_where_the_camera_sees_them_and_hidden_ones_are_not_visible(target: int) -> None:
    camera, points = camera_of(BALL, target), surface()
    projected = BALL.project(points, target=target)
    turned = facing(points, camera)
    truth = camera.project(points, SIZE)[0]
    assert projected.visible[turned > 0.2].all()
    assert not projected.visible[turned < -0.1].any()
    assert (projected.confidence[~projected.visible] == 0).all()
    assert np.linalg.norm(projected.points - truth, axis=1)[turned > 0.3].max() < 0.5
    # Of what is hidden the camera still tells where it is.
    assert projected.points[~projected.visible] == pytest.approx(truth[~projected.visible])


def test_confidence_falls_with_the_distance_from_what_is_shown() -> None:
    points = on_ball(np.array([[0.0, 0.45]]))
    for off, expected in ((0.0, 1.0), (0.015, np.exp(-0.5)), (0.024, np.exp(-0.5 * 2.56))):
        projected = BALL.project(points * (1 + off / RADIUS), target=0)
        assert projected.confidence == pytest.approx([expected], abs=0.01)
    away = BALL.project(points * (1 + 1.1 * VISIBLE_WITHIN / RADIUS), target=0)
    assert (away.visible.tolist(), away.confidence.tolist()) == ([False], [0.0])


def test_without_a_camera_hidden_places_are_nowhere() -> None:
    projected = ball(posed=False).project(surface(), target=0)
    assert 0.2 < projected.visible.mean() < 0.5
    assert np.isnan(projected.points[~projected.visible]).all()
    assert np.isfinite(projected.points[projected.visible]).all()


def test_an_image_that_shows_nothing_gets_nothing() -> None:
    nothing = np.full_like(BALL.coordinates[2], np.nan)
    shape = replace(BALL, cameras=(*BALL.cameras[:2], None), coordinates=(*BALL.coordinates[:2], nothing))
    projected = shape.project(surface(100), target=2)
    assert not projected.visible.any()
    assert np.isnan(projected.points).all()
    assert np.isnan(shape.transfer(pixels(), source=0, target=2).points).all()
    assert np.isnan(shape.transfer(pixels(), source=2, target=0).points).all()


def test_points_go_from_image_to_image_where_both_show_them() -> None:
    places = pixels()
    carried, truth = BALL.transfer(places, source=0, target=1), hits(camera_of(BALL, 0), places)
    both = (facing(truth, camera_of(BALL, 0)) > 0.3) & (facing(truth, camera_of(BALL, 1)) > 0.3)
    assert both.sum() > 300
    expected = camera_of(BALL, 1).project(truth[both], SIZE)[0]
    assert np.linalg.norm(carried.points[both] - expected, axis=1).max() < 0.7
    assert carried.confidence[both] == pytest.approx(0.75, abs=0.02)
    hidden = (facing(truth, camera_of(BALL, 0)) > 0.3) & (facing(truth, camera_of(BALL, 1)) < -0.1)
    assert hidden.sum() > 30
    assert np.isnan(carried.points[hidden]).all()
    assert (carried.confidence[hidden] == 0).all()
    opposite = BALL.transfer(places, source=0, target=2)
    assert not opposite.inside[facing(truth, camera_of(BALL, 2)) < -0.1].any()


def test_the_texture_is_a_frame_of_its_own() -> None:
    places = pixels()
    truth = hits(camera_of(BALL, 1), places)
    inner = (facing(truth, camera_of(BALL, 1)) > 0.3) & (on_texture(truth)[:, 1] > 0.135)
    there = BALL.transfer(places[inner], source=1, target=None)
    assert there.inside.all()
    off = np.abs(there.points - on_texture(truth[inner]))
    assert np.minimum(off, 1 - off).max() < 0.005
    back = BALL.transfer(there.points, source=None, target=1)
    assert np.median(np.linalg.norm(back.points - places[inner], axis=1)) < 0.05
    nothing = BALL.transfer(np.array([[0.5, 0.05]]), source=None, target=1)
    assert np.isnan(nothing.points).all()


def test_a_frame_is_carried_to_itself_as_it_is() -> None:
    places = np.array([[1.0, 2.0], [200.0, 150.0]])
    carried = BALL.transfer(places, source=1, target=1)
    assert carried.points.tolist() == places.tolist()
    assert carried.confidence.tolist() == [1, 1]


def test_fields_of_very_many_cells_are_searched_as_finely() -> None:
    camera = camera_of(BALL, 0)
    field = hits(camera, cell_centres(600, 800, SIZE.extent)).astype(np.float32)
    assert np.isfinite(field).all(axis=2).sum() > 1.5 * MAX_CELLS
    points = surface()
    points = points[facing(points, camera) > 0.2]
    found = NearestPlaces(field, SIZE.extent).find(points, within=0.01)
    assert np.linalg.norm(found.points - camera.project(points, SIZE)[0], axis=1).max() < 0.1
    assert found.distance.max() < 1e-3


@pytest.mark.parametrize("shape", [(1, 1), (1, 7), (7, 1), (2, 2)])
def test_small_fields_are_searched_too(shape: tuple[int, int]) -> None:
    extent = np.array([14.0, 7.0])
    centres = cell_centres(*shape, extent)
    field = np.concatenate([centres / 100, np.zeros((*shape, 1))], axis=2).astype(np.float32)
    found = NearestPlaces(field, extent).find(field.reshape(-1, 3), within=0.01)
    assert found.points == pytest.approx(centres.reshape(-1, 2), abs=1e-3)
    far = NearestPlaces(field, extent).find(np.array([[5.0, 0, 0], [np.nan, 0, 0]]), within=0.01)
    assert np.isinf(far.distance).all()
    assert np.isnan(far.points).all()


def test_truth_of_the_ball_agrees_with_its_cameras() -> None:
    camera = camera_of(BALL, 1)
    points = surface()
    points = points[shown(camera, points)]
    pixels_of, depth = camera.project(points, SIZE)
    assert depth.min() > 0
    assert hits(camera, pixels_of) == pytest.approx(points, abs=1e-6)
    assert on_ball(on_texture(points)) == pytest.approx(points, abs=1e-9)
