"""Maps both ways between pictures and the canonical square, from splines."""

from functools import cache

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn.functional import pad

from tests.workers.methods.analytic import flags, paired
from workers.backbones.base import no_tick
from workers.evaluation.analytic_set import IMAGES
from workers.geometry.coordinates import identity_grid, sample_at
from workers.geometry.flows import dense_flow, evaluate_flow, identity_controls
from workers.geometry.joint_splines import JointOptions
from workers.imaging.frames import letterboxed
from workers.methods.asic.alignment import fit_matches
from workers.methods.asic.canonical_maps import CanonicalMaps, canonical_maps, spline_places
from workers.methods.asic.outcome.maps import atlas_form

IDENTITY = identity_controls(6)


@cache
def controls() -> Tensor:
    return fit_matches(paired(), IMAGES, JointOptions(controls=6, rounds=6)).controls


def mapped(*, mirrored: tuple[int, ...] = ()) -> CanonicalMaps:
    places = spline_places(controls(), 96)
    return canonical_maps(places, flags(*mirrored), size=96, atlas_size=64, tick=no_tick)


@pytest.mark.parametrize("mirrored", [(), (2, 5)])
def test_maps_there_and_back_invert_each_other(mirrored: tuple[int, ...]) -> None:
    maps = mapped(mirrored=mirrored)
    assert maps.places.shape == (IMAGES, 96, 96, 2)
    assert maps.grids.shape == (IMAGES, 64, 64, 2)
    cells = identity_grid(64, 64)
    for places, grid, known in zip(maps.places, maps.grids, maps.known, strict=True):
        inner = known & (grid.abs() < 1 - 2 / 96).all(dim=-1)
        assert inner.sum() > 200
        back = sample_at(places.permute(2, 0, 1)[None], grid[inner][None])[0].T
        assert (back - cells[inner]).abs().max() < 0.5 * 2 / 64
    assert maps.upright.mean() > 0.99


def test_mirrored_pictures_are_mapped_as_uploaded() -> None:
    plain, turned = mapped(), mapped(mirrored=(2,))
    assert torch.equal(turned.places[2], plain.places[2].flip(1))
    seen = plain.known[2]
    torch.testing.assert_close(turned.grids[2][seen], plain.grids[2][seen] * torch.tensor([-1.0, 1.0]))
    assert torch.equal(turned.known, plain.known)


def test_folds_are_not_upright() -> None:
    places = identity_grid(32, 32).repeat(2, 1, 1, 1)
    places[0, :, 16:, 0] = places[0, :, :16, 0].flip(1)
    maps = canonical_maps(places, torch.tensor([False, True]), size=32, atlas_size=32, tick=no_tick)
    assert maps.upright[0, :, :15].min() == 1
    assert maps.upright[0, :, 16:].max() == 0
    assert maps.upright[1].min() == 1


def smooth_warp() -> Tensor:
    inner = 0.12 * torch.randn(2, 4, 4, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    return IDENTITY + pad(inner, (1, 1, 1, 1))


def test_a_known_warp_is_followed_to_half_a_pixel() -> None:
    """The first picture shows at a place what the second shows at the warped place; the plane is the second's."""
    size = 128
    warps = torch.stack([smooth_warp(), IDENTITY])
    maps = canonical_maps(dense_flow(warps, size).float(), flags()[:2], size=size, atlas_size=size, tick=no_tick)
    frames = letterboxed([np.zeros((size, size, 3), np.uint8)] * 2, size, "cpu")
    form = atlas_form(maps, frames, torch.ones(2, 64, 64), torch.ones(size, size), no_tick)
    points = 1.6 * torch.rand(400, 2, generator=torch.Generator().manual_seed(3), dtype=torch.float64) - 0.8
    warped = evaluate_flow(warps[:1], points)[0]
    assert (warped - points).norm(dim=1).max() > 0.1
    here, there = ((ends.numpy() + 1) * size / 2 for ends in (points, warped))
    inside = (np.abs(there - size / 2) < size / 2 - 1).all(axis=1)
    assert inside.mean() > 0.9
    for source, target, start, end in ((0, 1, here, there), (1, 0, there, here)):
        carried = form.transfer(start[inside], source=source, target=target)
        assert np.abs(carried.points - end[inside]).max() < 0.5
        assert (carried.confidence > 0.9).all()
        itself = form.transfer(start[inside], source=source, target=source).points
        assert np.abs(itself - start[inside]).max() < 0.1
