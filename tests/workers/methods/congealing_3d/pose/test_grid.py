import math

import pytest
import torch

from workers.evaluation.procedural_shapes import animal
from workers.geometry.cameras import angles_between_deg
from workers.methods.congealing_3d.pose.grid import MARGIN, RADIUS, GridOptions, pose_grid, tight_windows
from workers.rendering.surface import Surface


def test_the_default_grid_has_the_papers_number_of_different_candidates() -> None:
    grid = pose_grid(GridOptions())
    assert len(grid.cameras) == len(grid.angles_deg) == 768
    turns = angles_between_deg(grid.cameras.rotation[:256, None], grid.cameras.rotation[None, :256])
    turns.fill_diagonal_(180)
    assert turns.min() > 2
    assert grid.angles_deg[:, 1].min() == -84.375
    assert grid.angles_deg[:, 1].max() == 84.375


def test_an_inclusive_grid_has_the_ends_of_its_ranges() -> None:
    grid = pose_grid(GridOptions(elevation_range_deg=(-30.0, 60.0), spacing="inclusive"))
    azimuth, elevation = grid.angles_deg[:, 0], grid.angles_deg[:, 1]
    assert (float(azimuth.min()), float(azimuth.max())) == (-180, 180)
    assert (float(elevation.min()), float(elevation.max())) == (-30, 60)
    assert len(set(elevation.tolist())) == len(set(azimuth.tolist())) == 16


def test_all_candidates_look_at_the_origin_from_where_the_shape_fills_the_picture() -> None:
    options = GridOptions(azimuths=4, elevations=3, fovs_deg=(20.0, 70.0), rolls_deg=(-15.0, 0.0, 40.0))
    grid = pose_grid(options)
    assert len(grid.cameras) == 4 * 3 * 2 * 3
    places, depth = grid.cameras.project(torch.zeros(1, 3))
    assert places.abs().max() < 1e-5
    assert (RADIUS * grid.cameras.focal - depth[:, 0]).abs().max() < 1e-4
    for row in (0, 17, 71):
        azimuth, elevation, fov, _ = (math.radians(value) for value in grid.angles_deg[row].tolist())
        x, y, z = (grid.cameras.centres[row] / depth[row]).tolist()
        across = math.cos(elevation)
        assert (x, y, -z) == pytest.approx(
            (across * math.cos(azimuth), math.sin(elevation), across * math.sin(azimuth)), abs=1e-5
        )
        assert float(grid.cameras.focal[row]) == pytest.approx(1 / math.tan(fov / 2), rel=1e-5)


def test_a_roll_turns_the_picture_only() -> None:
    grid = pose_grid(GridOptions(azimuths=4, elevations=1, fovs_deg=(40.0,), rolls_deg=(0.0, 30.0)))
    torch.testing.assert_close(grid.cameras.centres[0::2], grid.cameras.centres[1::2], atol=1e-5, rtol=0)
    turned = angles_between_deg(grid.cameras.rotation[0::2], grid.cameras.rotation[1::2])
    torch.testing.assert_close(turned, torch.full((4,), 30.0), atol=1e-3, rtol=0)


def test_windows_lie_tightly_around_the_shape_in_any_number_of_views() -> None:
    surface = Surface.of(animal(0).mesh)
    cameras = pose_grid(GridOptions(azimuths=9, elevations=8, fovs_deg=(40.0,))).cameras
    windows = tight_windows(surface, cameras)
    assert windows.shape == (72, 3)
    places, _ = cameras.project(surface.vertices)
    inside = (places - windows[:, None, :2]) / windows[:, None, 2:]
    reach = inside.abs().amax(dim=(1, 2))
    torch.testing.assert_close(reach, torch.full((72,), 1 / MARGIN), atol=1e-4, rtol=0)
    torch.testing.assert_close(inside.amax(dim=1), -inside.amin(dim=1), atol=1e-4, rtol=0)
