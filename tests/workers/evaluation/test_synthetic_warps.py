import numpy as np
import pytest

from workers.evaluation.shapes import random_warp
from workers.evaluation.warps import Bumps, Hinge, Layer, Pose, Sway, Sweep, Thicken, Warp, pixel_centres

LAYERS: list[Layer] = [
    Hinge(0, 0.1, 0.95, 0.05),
    Hinge(1, -0.2, -0.95, 0.3),
    Thicken(Bumps((-0.3, 0.2), (0.7, -0.9), 0.15)),
    Sway(Bumps((0.0, 0.4), (0.3, -0.2), 0.1)),
    Sweep(0.4, -0.8),
    Pose(0.7, 320.0, (210.0, 95.0)),
    Pose(-0.4, 250.0, (130.0, 220.0), mirror_width_px=500.0),
]
GRID = np.stack(np.meshgrid(np.linspace(-1, 2, 121), np.linspace(-1, 2, 121)), axis=-1)


def jacobian(points: np.ndarray) -> np.ndarray:
    along_x, along_y = np.diff(points, axis=1)[:-1], np.diff(points, axis=0)[:, :-1]
    return along_x[..., 0] * along_y[..., 1] - along_x[..., 1] * along_y[..., 0]


@pytest.mark.parametrize("layer", LAYERS, ids=lambda layer: type(layer).__name__)
def test_every_layer_undoes_itself_and_never_folds(layer: Layer) -> None:
    there = layer.forward(GRID[..., 0], GRID[..., 1])
    back = layer.inverse(*there)
    np.testing.assert_allclose(np.stack(back, axis=-1), GRID, atol=1e-10)
    mirrored = isinstance(layer, Pose) and layer.mirror_width_px is not None
    assert ((jacobian(np.stack(there, axis=-1)) < 0) == mirrored).all()


@pytest.mark.parametrize("seed", range(12))
def test_random_warps_are_exact_smooth_and_stay_on_the_picture(seed: int) -> None:
    warp = random_warp(500, 420, np.random.default_rng(seed))
    pixels = warp.to_image(GRID)
    np.testing.assert_allclose(warp.to_canonical(pixels), GRID, atol=1e-9)
    stretch = jacobian(pixels) / (warp.pose.scale_px * 3 / 120) ** 2
    assert stretch.min() > 0.2
    assert stretch.max() < 5.0


def test_pose_follows_the_conventions() -> None:
    warp = Warp((), Pose(np.pi / 2, 100.0, (200.0, 50.0)))
    # A quarter turn clockwise on the screen sends the tail, at the canonical right, down.
    np.testing.assert_allclose(warp.to_image([(0.5, 0.5), (1.0, 0.5)]), [(200, 50), (200, 100)], atol=1e-9)


def test_hinge_slopes() -> None:
    hinge = Hinge(0, 0.0, 0.3, 0.01)
    x = np.array([-2.0, -1.0, 0.0, 1.0, 2.0])
    moved, _ = hinge.forward(x, np.zeros(5))
    np.testing.assert_allclose(np.diff(moved)[[0, 3]], [0.7, 1.3], atol=1e-3)
    assert moved[2] == 0.0


def test_pixel_centres_are_continuous_coordinates() -> None:
    centres = pixel_centres(3, 2)
    assert centres.shape == (2, 3, 2)
    np.testing.assert_array_equal(centres[1, 2], (2.5, 1.5))
