"""Cameras and schedules of a distillation."""

import pytest
import torch
from torch.testing import assert_close

from workers.methods.congealing_3d.generate.cameras import draw_views, ring
from workers.methods.congealing_3d.generate.schedule import (
    FAST_PHASES,
    OFFICIAL_PHASES,
    OFFICIAL_STEPS,
    active_levels,
    phase_at,
    time_window,
)


def many() -> torch.Generator:
    return torch.Generator().manual_seed(0)


def test_views_of_a_group_are_a_quarter_of_a_turn_apart_and_share_the_rest() -> None:
    views = draw_views(3, many())
    azimuth = views.azimuth_deg.view(3, 4)
    assert_close(azimuth.diff(dim=1), torch.full((3, 3), 90.0), atol=1e-4, rtol=0)
    for shared in (views.elevation_deg, views.fov_deg, views.distance):
        assert torch.equal(shared.view(3, 4), shared.view(3, 4)[:, :1].expand(3, 4))
    assert len(set(views.fov_deg.tolist())) == 3


def test_cameras_stand_where_they_were_drawn_and_look_at_the_origin() -> None:
    views = draw_views(5, many())
    azimuth, elevation = torch.deg2rad(views.azimuth_deg), torch.deg2rad(views.elevation_deg)
    # The published frame has z up and twice our size: (x, y, z) becomes (x, z, -y) / 2.
    z_up = torch.stack([elevation.cos() * azimuth.cos(), elevation.cos() * azimuth.sin(), elevation.sin()], dim=-1)
    published = 2 * views.distance[:, None] * z_up
    ours = 0.5 * torch.stack([published[:, 0], published[:, 2], -published[:, 1]], dim=-1)
    assert_close(views.cameras.centres, ours, atol=1e-5, rtol=0)
    places, depth = views.cameras.project(torch.zeros(1, 3))
    assert float(places.abs().max()) < 1e-5
    assert_close(depth[:, 0], views.distance)


def test_draws_stay_within_their_published_ranges_and_fill_them() -> None:
    views = draw_views(4000, many())
    away = views.distance * 2 * torch.tan(torch.deg2rad(views.fov_deg) / 2)
    for values, low, high in (
        (views.elevation_deg, 0, 30),
        (views.fov_deg, 15, 60),
        (away, 0.8, 1.0),
        (views.azimuth_deg, -180, 180),
    ):
        span = high - low
        assert low - 1e-4 <= float(values.min()) < low + 0.02 * span
        assert high - 0.02 * span < float(values.max()) <= high + 1e-4
    # Half of the heights are even in angle (mean 15), half on the sphere (mean 15.27).
    assert float(views.elevation_deg.mean()) == pytest.approx(15.1, abs=0.4)


def test_a_ring_goes_once_around() -> None:
    cameras = ring(8, elevation_deg=15.0)
    assert_close(cameras.centres.norm(dim=-1), torch.full((8,), 1.5))
    assert_close(cameras.centres.mean(dim=0)[[0, 2]], torch.zeros(2), atol=1e-6, rtol=0)


@pytest.mark.parametrize(("step", "groups", "size"), [(0, 2, 64), (4999, 2, 64), (5000, 1, 256), (9999, 1, 256)])
def test_official_pictures_grow_at_half_time(step: int, groups: int, size: int) -> None:
    phase = phase_at(OFFICIAL_PHASES, step, OFFICIAL_STEPS)
    assert (phase.groups, phase.size) == (groups, size)


def test_fast_pictures_grow_at_half_time() -> None:
    assert [phase_at(FAST_PHASES, step, 2500).size for step in (0, 1249, 1250, 2499)] == [64, 64, 128, 128]


def test_fewer_steps_go_through_the_same_noise() -> None:
    assert [time_window(step, 60) for step in (0, 12, 24, 36, 48, 59)] == [
        (980, 980), (740, 860), (500, 740), (260, 620), (20, 500), (20, 500)
    ]  # fmt: skip


def test_levels_of_detail_join_in_until_half_time() -> None:
    assert [active_levels(3, step, 60) for step in (0, 9, 10, 19, 20, 30, 59)] == [1, 1, 2, 2, 3, 3, 3]
    assert active_levels(1, 59, 60) == 1
