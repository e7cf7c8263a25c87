import torch

from workers.evaluation.procedural_shapes import animal
from workers.geometry.cameras import Cameras, angles_between_deg, looking_at_origin
from workers.methods.congealing_3d.pose.grid import GridOptions, pose_grid, tight_windows
from workers.methods.congealing_3d.pose.placement import in_pictures, placed, shifted, within
from workers.rendering.surface import Surface

SURFACE = Surface.of(animal(0).mesh)


def candidates() -> Cameras:
    return pose_grid(GridOptions(azimuths=6, elevations=4, fovs_deg=(30.0, 60.0))).cameras


def test_what_is_flat_is_moved_exactly() -> None:
    facing = looking_at_origin(*(torch.tensor([value]) for value in (-90.0, 0.0, 2.0, 40.0)))
    points = torch.tensor([[-0.3, -0.2, 0.0], [0.3, 0.2, 0.0], [0.1, 0.0, 0.0]])
    rendered, wanted = torch.tensor([[0.1, -0.05, 0.5]]), torch.tensor([[-0.6, 0.4, 0.2]])
    before = (facing.project(points)[0] - rendered[:, None, :2]) / rendered[:, 2]
    after = (shifted(facing, rendered, wanted).project(points)[0] - wanted[:, None, :2]) / wanted[:, 2]
    torch.testing.assert_close(after, before, atol=1e-5, rtol=0)


def test_a_shape_comes_to_lie_in_the_window_it_is_wanted_in() -> None:
    cameras = candidates()
    windows = tight_windows(SURFACE, cameras)
    wanted = torch.tensor([[0.5, -0.3, 0.45]]).repeat(len(cameras), 1)
    found = tight_windows(SURFACE, placed(cameras, windows, wanted))
    assert ((found - wanted) / wanted[:, 2:])[:, :2].abs().max() < 0.2
    assert (found[:, 2] / wanted[:, 2] - 1).abs().max() < 0.25


def test_the_side_that_is_seen_stays_the_same() -> None:
    cameras = candidates()
    windows = tight_windows(SURFACE, cameras)
    wanted = torch.tensor([[0.7, 0.5, 0.2]]).repeat(len(cameras), 1)
    found = placed(cameras, windows, wanted)
    before, after = (each.centres / each.centres.norm(dim=1, keepdim=True) for each in (cameras, found))
    assert torch.rad2deg(torch.acos((before * after).sum(dim=1).clamp(-1, 1))).max() < 6
    assert (angles_between_deg(found.rotation, cameras.rotation) > 10).all()


def test_in_the_window_it_was_drawn_in_nothing_moves() -> None:
    cameras = candidates()
    windows = tight_windows(SURFACE, cameras)
    same = shifted(cameras, windows, windows)
    torch.testing.assert_close(same.translation, cameras.translation)
    central = windows * torch.tensor([0.0, 0.0, 1.0])
    torch.testing.assert_close(placed(cameras, central, central).rotation, cameras.rotation)


def test_in_a_wide_picture_the_field_of_view_is_that_of_its_width() -> None:
    cameras = candidates()
    windows = tight_windows(SURFACE, cameras)
    wide, theirs = in_pictures(cameras, windows, torch.full((len(cameras),), 3.0))
    torch.testing.assert_close(wide.focal, 3 * cameras.focal)
    torch.testing.assert_close(tight_windows(SURFACE, wide), theirs)
    high, same = in_pictures(cameras, windows, torch.full((len(cameras),), 0.4))
    assert torch.equal(high.focal, cameras.focal)
    assert torch.equal(same, windows)


def test_a_shape_that_is_wider_than_its_window_or_behind_the_camera_is_not_within() -> None:
    cameras = candidates()
    windows = tight_windows(SURFACE, cameras)
    assert within(cameras, SURFACE.vertices, windows, most=1.0).all()
    assert not within(cameras, SURFACE.vertices, windows / 1.6, most=1.5).any()
    beyond = Cameras(cameras.rotation, -cameras.translation, cameras.focal)
    assert not within(beyond, SURFACE.vertices, windows, most=1e6).any()
