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
from workers.methods.congealing_3d.pose.feature_refinement import Level
from workers.methods.congealing_3d.pose.joint_refinement import JointOptions, refine_jointly
from workers.methods.congealing_3d.pose.observation import Observations

COUNT = 8
IMAGES = torch.arange(COUNT)


@pytest.fixture(scope="module")
def true() -> Cameras:
    return true_cameras(COUNT)


@pytest.fixture(scope="module")
def images(true: Cameras) -> Observations:
    return observed([0] * COUNT, true)


def test_masks_and_features_together_are_exact(true: Cameras, images: Observations) -> None:
    found = refine_jointly(images, surface_samples(), candidates_near(true), IMAGES)
    after = errors_deg(found.cameras, true)
    assert after.median() < 1.2
    assert after.max() < 3
    assert found.kept.all()
    assert found.iou is not None
    assert found.iou.min() > 0.8
    assert found.distance.max() < 0.1


def test_another_animal_of_the_kind_is_posed_too(true: Cameras) -> None:
    others = observed([1 + number % 6 for number in range(COUNT)], true)
    found = refine_jointly(others, surface_samples(), candidates_near(true), IMAGES)
    after = errors_deg(found.cameras, true)
    assert after.median() < 5
    assert after.max() < 9


def test_without_masks_features_alone_decide(true: Cameras, images: Observations) -> None:
    found = refine_jointly(replace(images, masks=None), surface_samples(), candidates_near(true), IMAGES)
    assert found.iou is None
    assert errors_deg(found.cameras, true).median() < 1.5


def test_a_refinement_that_leaves_the_features_behind_is_dropped(true: Cameras, images: Observations) -> None:
    assert images.masks is not None
    shuffled = replace(images, masks=images.masks.roll(1, dims=0))
    options = JointOptions(levels=(Level(0.2, 1.5e-2), Level(0.1, 1.5e-2)), mask=100.0)
    found = refine_jointly(shuffled, surface_samples(600), true, IMAGES, options=options)
    assert not found.kept.all()
    assert torch.equal(found.cameras.rotation[~found.kept], true.rotation[~found.kept])


def test_several_poses_of_an_image_are_refined_each_on_its_own(true: Cameras, images: Observations) -> None:
    options = JointOptions(levels=(Level(0.2, 1e-2, steps=4), Level(0.1, 1e-2, steps=4)))
    start = candidates_near(true)
    rows = torch.tensor([3, 0, 3, 1])
    poses = Cameras(start.rotation[rows], start.translation[rows], start.focal[rows])
    samples = surface_samples(600)
    together = refine_jointly(images, samples, poses, IMAGES[rows], options=options)
    alone = refine_jointly(images, samples, start[3], IMAGES[3:4], options=options)
    torch.testing.assert_close(together.cameras.translation[[0, 2]], alone.cameras.translation.expand(2, -1))
    torch.testing.assert_close(together.distance[[0, 2]], alone.distance.expand(2))


def test_without_levels_poses_are_judged_and_stay(true: Cameras, images: Observations) -> None:
    found = refine_jointly(images, surface_samples(), true, IMAGES, options=JointOptions(levels=()))
    assert torch.equal(found.cameras.rotation, true.rotation)
    assert found.iou is not None
    assert found.iou.min() > 0.8
    assert found.distance.max() < 0.1
