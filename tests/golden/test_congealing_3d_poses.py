"""Values of the specification of 3D Congealing for cameras, candidates and crops."""

import numpy as np
import pytest
import torch

from alignment.sampling import ImageSize
from workers.geometry.cameras import Cameras, angles_between_deg, exponential, looking_at_origin, turned_towards
from workers.methods.congealing_3d.pose.grid import GridOptions, pose_grid
from workers.methods.congealing_3d.pose.placement import shifted

Z_UP = torch.tensor([[1.0, 0, 0], [0, 0, 1], [0, -1, 0]], dtype=torch.float64)
"""From the specification's frame, z up, to ours, y up; the factor 1/2 is left out: only directions are compared."""


def degrees(*values: float) -> torch.Tensor:
    return torch.tensor(values, dtype=torch.float64)


def test_the_camera_at_elevation_30_and_azimuth_45() -> None:
    camera = looking_at_origin(degrees(45), degrees(30), degrees(2.5), degrees(40))
    world_to_camera = torch.cat([camera.rotation[0] @ Z_UP, camera.translation[0][:, None]], dim=1)
    expected = [
        [-0.707107, 0.707107, 0, 0],
        [0.353553, 0.353553, -0.866025, 0],
        [-0.612372, -0.612372, -0.5, 2.5],
    ]
    np.testing.assert_allclose(world_to_camera, expected, atol=1e-5)
    (result,) = camera.as_results()
    to_world = Z_UP.T.numpy() @ result.to_world[:3]
    expected = [
        [-0.707107, -0.353553, 0.612372, 1.530931],
        [0.707107, -0.353553, 0.612372, 1.530931],
        [0, 0.866025, 0.5, 1.25],
    ]
    np.testing.assert_allclose(to_world, expected, atol=1e-5)
    assert result.focal_px(256) == pytest.approx(351.677110, abs=1e-5)
    point = (Z_UP @ degrees(0.3, -0.2, 0.1)).numpy()
    pixel, depth = result.project(point[None], ImageSize(256, 256))
    np.testing.assert_allclose(pixel[0], [75.949358, 120.455313], atol=1e-5)
    assert depth[0] == pytest.approx(2.388763, abs=1e-6)
    batched, depths = camera.project(torch.from_numpy(point)[None])
    np.testing.assert_allclose(batched[0, 0] * 128 + 128, [75.949358, 120.455313], atol=1e-5)
    assert float(depths) == pytest.approx(2.388763, abs=1e-6)


def test_the_candidates() -> None:
    grid = pose_grid(GridOptions())
    assert len(grid.cameras) == 768
    azimuth, elevation, fov, roll = grid.angles_deg.T
    assert sorted(set(azimuth.tolist())) == [-180 + 22.5 * step for step in range(16)]
    assert sorted(set(elevation.tolist())) == [-84.375 + 11.25 * step for step in range(16)]
    assert fov.tolist() == [15.0] * 256 + [37.5] * 256 + [60.0] * 256
    assert azimuth[:17].tolist() == [-180.0] * 16 + [-157.5]
    assert elevation[:3].tolist() == [-84.375, -73.125, -61.875]
    assert roll.unique().tolist() == [0]


def test_the_candidates_with_both_ends() -> None:
    angles = pose_grid(GridOptions(spacing="inclusive")).angles_deg
    assert len(angles) == 768
    np.testing.assert_allclose(np.unique(angles[:, 0]), np.arange(-180, 181, 24), atol=1e-4)
    np.testing.assert_allclose(np.unique(angles[:, 1]), np.arange(-90, 91, 12), atol=1e-4)


def test_candidates_above_and_below_are_proper_rotations() -> None:
    cameras = pose_grid(GridOptions(spacing="inclusive")).cameras
    determinants = torch.det(cameras.rotation)
    torch.testing.assert_close(determinants, torch.ones(768))
    assert torch.isfinite(cameras.translation).all()


def test_the_place_of_an_object_from_two_crops() -> None:
    focal = 1 / torch.tan(torch.deg2rad(degrees(40)) / 2)
    camera = Cameras(torch.eye(3, dtype=torch.float64)[None], degrees(0, 0, 2)[None], focal)
    moved = shifted(camera, degrees(0.05, -0.02, 0.6)[None], degrees(0.2, 0.1, 0.45)[None])
    torch.testing.assert_close(moved.translation[0], degrees(0.157720, 0.111618, 2.666667), atol=1e-6, rtol=0)


def test_the_rotation_of_a_crop_to_the_axis() -> None:
    ray = degrees((450 - 320) / 500, (150 - 240) / 500, 1)
    found = turned_towards(ray[None])[0]
    expected = [
        [0.968541, 0.021780, -0.247900],
        [0.021780, 0.984922, 0.171623],
        [0.247900, -0.171623, 0.953463],
    ]
    np.testing.assert_allclose(found, expected, atol=1e-5)
    assert float(angles_between_deg(torch.eye(3, dtype=torch.float64), found)) == pytest.approx(17.548401, abs=1e-5)
    seen = found @ degrees(0.4, -0.3, 2)
    np.testing.assert_allclose(seen[:2] / seen[2] * 900 + 112, [61.733817, 136.705618], atol=1e-5)


def test_the_angle_between_two_rotations() -> None:
    def turn(axis: int, angle: float) -> torch.Tensor:
        increment = torch.zeros(1, 3, dtype=torch.float64)
        increment[0, axis] = torch.deg2rad(degrees(angle))[0]
        return exponential(increment)[0]

    first, second = turn(2, 30) @ turn(0, 20), turn(2, 35) @ turn(0, -10)
    assert float(angles_between_deg(first, second)) == pytest.approx(30.4043770513, abs=1e-9)
    assert float(angles_between_deg(first, first)) == pytest.approx(0, abs=1e-12)


def test_a_scanner_s_pose() -> None:
    """NAVI gives q = (w, x, y, z) and t from the object to the camera, x right, y down."""
    w, x, y, z = np.array([0.8, 0.2, -0.4, 0.4]) / np.linalg.norm([0.8, 0.2, -0.4, 0.4])
    angle = 2 * np.arctan2(np.linalg.norm([x, y, z]), w)
    axis = np.array([x, y, z]) / np.linalg.norm([x, y, z])
    rotation = exponential(torch.from_numpy(angle * axis)[None])
    camera = Cameras(rotation, degrees(1, 2, 30)[None], degrees(3024 / (3024 / 2)))
    seen = camera.see(degrees(2, -1, 3)[None])[0, 0]
    np.testing.assert_allclose(seen, [1.08, 0.44, 33.4], atol=1e-9)
    place, _ = camera.project(degrees(2, -1, 3)[None])
    pixel = place[0, 0].numpy() * 1512 + np.array([2016, 1512])
    np.testing.assert_allclose(pixel, [2113.782036, 1551.837126], atol=1e-5)
