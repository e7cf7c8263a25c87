from functools import cache

import numpy as np
import pytest
import torch

from workers.evaluation.procedural_shapes import animal
from workers.evaluation.shape_set import Look, ShapeSet, Viewpoints, drawn_set

SIZE = (112, 90)
COUNT = 6


@cache
def drawn(look: Look = "natural", *, cluttered: bool = False) -> ShapeSet:
    return drawn_set([animal(0), animal(2)], COUNT, 4, size=SIZE, look=look, cluttered=cluttered)


def test_every_picture_comes_with_its_truth() -> None:
    width, height = SIZE
    made = drawn()
    assert len(made.cameras) == COUNT
    for index in range(COUNT):
        assert made.pictures[index].shape == (height, width, 3)
        assert made.pictures[index].dtype == np.uint8
        assert made.coordinates[index].shape == (height, width, 3)
        np.testing.assert_array_equal(np.isfinite(made.coordinates[index]).all(axis=-1), made.masks[index])
        np.testing.assert_array_equal(made.depths[index] > 0, made.masks[index])
        assert made.shapes[index] is animal((0, 2)[index % 2])


@pytest.mark.parametrize("size", [(112, 90), (91, 120), (64, 64), (150, 61)])
def test_every_object_is_whole_in_its_picture(size: tuple[int, int]) -> None:
    made = drawn_set([animal(1)], 4, 2, size=size, viewpoints=Viewpoints(roll_deg=20, off_centre=1.0))
    for index in range(4):
        points, _ = made.seen_vertices(index)
        assert (points > 0).all()
        assert (points < size).all()


def test_coordinates_are_what_the_template_vertices_project_to() -> None:
    made = drawn()
    for index in range(COUNT):
        points, visible = made.seen_vertices(index)
        assert 0.2 < visible.mean() < 0.6
        column, row = points[visible].astype(int).T
        found = made.coordinates[index][row, column]
        assert np.quantile(np.linalg.norm(found - made.shapes[index].places[visible], axis=1), 0.95) < 0.03


def test_the_template_s_coordinates_project_to_their_own_pixels() -> None:
    made = drawn()
    rows, columns = np.nonzero(made.masks[0])
    points, depth = made.cameras[0].project(torch.from_numpy(made.coordinates[0][rows, columns]))
    pixels = (points[0].numpy() + np.array([SIZE[0] / SIZE[1], 1])) * (SIZE[1] / 2)
    np.testing.assert_allclose(pixels, np.stack([columns, rows], axis=1) + 0.5, atol=2e-3)
    np.testing.assert_allclose(depth[0].numpy(), made.depths[0][rows, columns], atol=1e-4)


def test_cameras_stand_where_they_were_asked_to() -> None:
    asked = Viewpoints(elevation_deg=(10, 20), fov_deg=(30, 35), distance=(1.2, 1.3), off_centre=0.0)
    cameras = drawn_set([animal(0)], 5, 0, size=(96, 96), viewpoints=asked).cameras
    fov = torch.rad2deg(2 * torch.atan(1 / cameras.focal))
    assert ((fov >= 30) & (fov <= 35)).all()
    outward = -cameras.rotation[:, 2]
    elevation = torch.rad2deg(torch.asin(outward[:, 1]))
    assert ((elevation >= 9.99) & (elevation <= 20.01)).all()
    factor = cameras.translation[:, 2] / (0.625 * cameras.focal)
    assert ((factor >= 1.199) & (factor <= 1.301)).all()


def test_the_object_stands_out_of_the_middle_only_where_it_may() -> None:
    def offsets(off_centre: float) -> np.ndarray:
        made = drawn_set([animal(0)], 4, 1, size=SIZE, viewpoints=Viewpoints(off_centre=off_centre))
        boxes = [made.seen_vertices(index)[0] for index in range(4)]
        middles = [(box.min(axis=0) + box.max(axis=0)) / 2 for box in boxes]
        return np.abs(np.array(middles) - np.array(SIZE) / 2)

    assert offsets(0.0).max() < 3
    assert offsets(0.9).max() > 8


def test_the_same_seed_gives_the_same_pictures_and_another_one_others() -> None:
    again = drawn_set([animal(0), animal(2)], 2, 4, size=SIZE)
    other = drawn_set([animal(0), animal(2)], 2, 5, size=SIZE)
    for index in range(2):
        np.testing.assert_array_equal(again.pictures[index], drawn().pictures[index])
        assert (other.pictures[index] != again.pictures[index]).any()


def test_plain_pictures_are_white_around_the_object_and_cluttered_ones_are_not() -> None:
    looks: tuple[Look, ...] = ("natural", "places")
    for look in looks:
        plain, full = drawn(look), drawn(look, cluttered=True)
        for index in range(COUNT):
            np.testing.assert_array_equal(plain.masks[index], full.masks[index])
            outside = ~plain.masks[index]
            assert np.mean(plain.pictures[index][outside] == 255) > 0.9
            assert np.mean((full.pictures[index][outside] > 240).all(axis=-1)) < 0.2
            assert full.pictures[index][outside].std(axis=0).min() > 5


def test_place_colours_are_the_places_shown() -> None:
    made = drawn("places")
    for index in range(COUNT):
        wanted = (made.coordinates[index] + 0.5) * 255
        error = np.abs(made.pictures[index] - wanted).max(axis=-1)[made.masks[index]]
        assert np.median(error) < 2


def test_noise_changes_all_pixels_a_little() -> None:
    clean = drawn("places")
    noisy = drawn_set([animal(0)], 1, 4, size=SIZE, look="places", noise=0.05)
    error = (noisy.pictures[0].astype(float) - clean.pictures[0])[clean.masks[0]] / 255
    assert error.std() == pytest.approx(0.05, rel=0.15)


def test_nothing_cannot_be_drawn() -> None:
    with pytest.raises(ValueError, match="at least 1 of each"):
        drawn_set([], 3, 0)
    with pytest.raises(ValueError, match="at least 1 of each"):
        drawn_set([animal(0)], 0, 0)
