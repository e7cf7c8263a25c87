from dataclasses import replace

import pytest
import torch

from tests.workers.methods.congealing_3d.pose.posed_animals import (
    candidates_near,
    errors_deg,
    observed,
    surface_samples,
    true_cameras,
)
from workers.geometry.cameras import Cameras
from workers.methods.congealing_3d.pose.increments import moved
from workers.methods.congealing_3d.pose.mask_refinement import MaskOptions, Silhouettes, refine_by_masks
from workers.methods.congealing_3d.pose.observation import Observations

COUNT = 8
IMAGES = torch.arange(COUNT)


@pytest.fixture(scope="module")
def true() -> Cameras:
    return true_cameras(COUNT)


@pytest.fixture(scope="module")
def images(true: Cameras) -> Observations:
    return observed([0] * COUNT, true)


def test_silhouettes_bring_poses_near(true: Cameras, images: Observations) -> None:
    start = candidates_near(true)
    beats: list[int] = []
    found = refine_by_masks(images, surface_samples().points, start, IMAGES, tick=lambda: beats.append(0))
    before, after = errors_deg(start, true), errors_deg(found.cameras, true)
    assert after.median() < 2
    assert after.max() < 6
    assert after.mean() < before.mean() / 4
    assert (found.best < found.first).all()
    assert len(beats) == 150


def test_the_same_comes_out_again_and_in_any_company(true: Cameras, images: Observations) -> None:
    start, points, options = candidates_near(true), surface_samples(600).points, MaskOptions(steps=5)
    all_of_them = refine_by_masks(images, points, start, IMAGES, options=options)
    again = refine_by_masks(images, points, start, IMAGES, options=options)
    assert torch.equal(all_of_them.cameras.rotation, again.cameras.rotation)
    rows = torch.tensor([5, 2, 5])
    some = refine_by_masks(images, points, start[rows], IMAGES[rows], options=options)
    torch.testing.assert_close(some.cameras.translation, all_of_them.cameras.translation[rows], atol=1e-4, rtol=0)
    torch.testing.assert_close(some.best, all_of_them.best[rows], atol=1e-4, rtol=0)


def test_nothing_is_told_of_what_lies_outside_the_picture(true: Cameras, images: Observations) -> None:
    x, _, half = images.windows[0]
    narrow = replace(images, aspect=torch.full((COUNT,), 0.25))
    silhouettes = Silhouettes.of(narrow, 1200, MaskOptions(enlarged=1.0))
    assert x - half < -0.25
    known = silhouettes.known[0, 0]
    assert 0 < known.sum() < known.numel()
    assert silhouettes.masks[0, 0][known == 0].max() == 0
    points = surface_samples().points
    cut = silhouettes[IMAGES[:1]].loss(points, true[0], MaskOptions(enlarged=1.0))
    assert cut < 0.25


def test_unknown_masks_are_refused(true: Cameras, images: Observations) -> None:
    blind = replace(images, masks=None)
    with pytest.raises(ValueError, match="masks are unknown"):
        refine_by_masks(blind, surface_samples(100).points, true, IMAGES)


def test_a_freed_focal_length_keeps_the_size_in_the_picture(true: Cameras) -> None:
    zoom = torch.zeros(COUNT, 7)
    zoom[:, 6] = 0.3
    zoomed = moved(true, zoom)
    torch.testing.assert_close(zoomed.focal, true.focal * torch.tensor(0.3).exp())
    centre = torch.zeros(1, 3)
    torch.testing.assert_close(zoomed.project(centre)[0], true.project(centre)[0])
    near, far = (camera.focal / camera.translation[:, 2] for camera in (true, zoomed))
    torch.testing.assert_close(near, far)


def test_no_change_is_no_change(true: Cameras) -> None:
    same = moved(true, torch.zeros(COUNT, 6))
    torch.testing.assert_close(same.rotation, true.rotation)
    torch.testing.assert_close(same.translation, true.translation)
