from dataclasses import replace

import pytest
import torch
from torch import Tensor
from torch.func import jacrev
from torch.nn.functional import normalize

from tests.workers.methods.congealing_3d.pose.posed_animals import (
    candidates_near,
    errors_deg,
    observed,
    oracle,
    seen_places,
    surface_samples,
    true_cameras,
)
from workers.geometry.cameras import Cameras
from workers.methods.congealing_3d.pose.feature_refinement import FeatureMatching, MatchingOptions
from workers.methods.congealing_3d.pose.increments import moved
from workers.methods.congealing_3d.pose.observation import Observations, SurfaceSamples
from workers.methods.congealing_3d.pose.settling import Placement, Problem, SettlingOptions, minimised, settle
from workers.run_context import JobCanceled

COUNT = 6
IMAGES = torch.arange(COUNT)
LONGER = torch.tensor([1.15, 0.9, 1.0])


@pytest.fixture(scope="module")
def true() -> Cameras:
    return true_cameras(COUNT)


@pytest.fixture(scope="module")
def images(true: Cameras) -> Observations:
    return observed([0] * COUNT, true)


@pytest.fixture(scope="module")
def stretched() -> SurfaceSamples:
    """The shape as another instance, longer and flatter than the animal in the pictures."""
    samples = surface_samples()
    return SurfaceSamples(samples.points * LONGER, normalize(samples.normals / LONGER, dim=1), samples.features)


@pytest.fixture(scope="module")
def placement(true: Cameras) -> Placement:
    near = candidates_near(true)
    return Placement(near, 0.1 * torch.randn(COUNT, 3, generator=torch.Generator().manual_seed(2)))


@pytest.fixture(scope="module")
def problem(images: Observations, placement: Placement) -> Problem:
    matching = FeatureMatching(images, surface_samples(), IMAGES, MatchingOptions(cells=60))
    return Problem.of(matching.at(placement.cameras, 2.0), SettlingOptions())


def changed(placement: Placement, change: Tensor) -> Placement:
    return Placement(moved(placement.cameras, change[:, :6]), placement.stretch + change[:, 6:])


def least_squares(problem: Problem, placement: Placement) -> Placement:
    """The plain way: descent by automatic gradients."""
    with torch.enable_grad():
        change = torch.zeros(COUNT, 9, requires_grad=True)
        optimiser = torch.optim.Adam([change], lr=1e-2)
        decay = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, 1500)
        for _ in range(1500):
            optimiser.zero_grad()
            problem.loss(changed(placement, change)).sum().backward()
            optimiser.step()
            decay.step()
    return changed(placement, change.detach())


def test_gauss_newton_ends_where_descent_does(problem: Problem, placement: Placement) -> None:
    quick, slow = minimised(problem, placement, steps=30), least_squares(problem, placement)
    torch.testing.assert_close(problem.loss(quick), problem.loss(slow), rtol=1e-3, atol=1e-6)
    assert errors_deg(quick.cameras, slow.cameras).max() < 0.1
    torch.testing.assert_close(quick.stretch, slow.stretch, rtol=0, atol=2e-3)


def test_slopes_are_derivatives(problem: Problem, placement: Placement) -> None:
    seen = problem.away(placement)[1]

    def away(change: Tensor) -> Tensor:
        return problem.away(changed(placement, change))[0].sum(dim=0)

    derivatives = -jacrev(away)(torch.zeros(COUNT, 9)).permute(2, 0, 1, 3)
    torch.testing.assert_close(problem.slopes(placement, seen), derivatives, rtol=1e-4, atol=1e-4)


def test_no_loss_rises(problem: Problem, placement: Placement) -> None:
    losses = [problem.loss(placement)]
    for _ in range(5):
        placement = minimised(problem, placement, steps=1)
        losses.append(problem.loss(placement))
    assert (torch.stack(losses).diff(dim=0) <= 0).all()
    assert (losses[-1] < losses[0]).all()


@pytest.mark.parametrize("stretch", [0.03, 0.003])
def test_a_shape_of_other_proportions_turns_less_when_it_may_stretch(
    images: Observations, stretched: SurfaceSamples, true: Cameras, stretch: float
) -> None:
    start = candidates_near(true)
    stiff = settle(images, stretched, start, IMAGES, options=SettlingOptions(stretch=1e6))[0]
    free = settle(images, stretched, start, IMAGES, options=SettlingOptions(stretch=stretch))[0]
    gain = errors_deg(stiff, true).mean() / errors_deg(free, true).mean()
    assert gain > (2 if stretch < 0.01 else 1.2)


def test_cells_that_are_like_nothing_on_the_shape_count_little(images: Observations, true: Cameras) -> None:
    features, half = images.features.clone(), images.features.shape[-1] // 2
    for row in range(COUNT):
        places, shown = seen_places(0, true[row], images.windows[row : row + 1], 2 * half)
        higher = oracle(places.permute(0, 2, 3, 1) + torch.tensor([0.0, 0.3, 0.0])).permute(0, 3, 1, 2) * shown
        features[row, :, :half] = normalize(higher, dim=1)[0, :, :half]
    partly, start = replace(images, features=features), candidates_near(true)
    generous = SettlingOptions(spread=1.0)
    weighed = settle(partly, surface_samples(), start, IMAGES, options=generous)[0]
    alike = settle(partly, surface_samples(), start, IMAGES, options=replace(generous, contrast=0.0))[0]
    assert errors_deg(weighed, true).max() < 5
    assert errors_deg(alike, true).mean() > 1.5 * errors_deg(weighed, true).mean()


def test_images_whose_features_tell_little_are_left_alone(images: Observations, true: Cameras) -> None:
    samples, start = surface_samples(), candidates_near(true)
    common = 3 * normalize(torch.ones(64), dim=0)
    dull = normalize(images.features[:3] + common.view(1, -1, 1, 1), dim=1) * images.features[:3].any(1, keepdim=True)
    mixed = replace(images, features=torch.cat([dull, images.features[3:]]))
    alike = SurfaceSamples(samples.points, samples.normals, normalize(samples.features + common, dim=1))
    settled, sharp = settle(mixed, alike, start, IMAGES, options=SettlingOptions(spread=0.2))
    assert not sharp[:3].any()
    assert torch.equal(settled.rotation[:3], start.rotation[:3])
    assert torch.equal(settled.translation[:3], start.translation[:3])
    _, all_sharp = settle(images, samples, start, IMAGES)
    assert all_sharp.all()


def test_an_image_without_an_object_is_left_alone(images: Observations, true: Cameras) -> None:
    nothing = replace(images, features=torch.zeros_like(images.features))
    start = candidates_near(true)
    settled, sharp = settle(nothing, surface_samples(), start, IMAGES)
    assert not sharp.any()
    assert torch.equal(settled.rotation, start.rotation)


def test_poses_of_one_image_are_settled_as_if_alone(images: Observations, true: Cameras) -> None:
    samples = surface_samples(400)
    twice = torch.tensor([3, 1, 3])
    start = candidates_near(true)[torch.tensor([3, 1, 5])]
    together, _ = settle(images, samples, start, twice)
    for row, image in enumerate(twice):
        alone, _ = settle(images, samples, start[row], image[None])
        torch.testing.assert_close(together.rotation[row], alone.rotation[0], rtol=0, atol=1e-4)


def test_settling_can_be_stopped(images: Observations, true: Cameras) -> None:
    def stop() -> None:
        raise JobCanceled

    with pytest.raises(JobCanceled):
        settle(images, surface_samples(100), candidates_near(true), IMAGES, tick=stop)
