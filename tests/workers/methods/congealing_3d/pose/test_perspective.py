import torch

from tests.workers.methods.congealing_3d.pose.posed_animals import (
    CELLS,
    candidates_near,
    described,
    errors_deg,
    observed,
    seen_places,
    surface_samples,
    tight_windows,
    true_cameras,
)
from workers.geometry.cameras import joined
from workers.methods.congealing_3d.pose.correspondences import Correspondences, mutual_correspondences
from workers.methods.congealing_3d.pose.perspective import fit_cameras

COUNT = 8
IMAGES = torch.arange(COUNT)


def test_matches_with_a_render_nearby_give_the_pose() -> None:
    true = true_cameras(COUNT)
    start, images = candidates_near(true), observed([0] * COUNT, true)
    windows = tight_windows(surface_samples(5000).points, start)
    rendered, (places, _) = described(0, start, windows), seen_places(0, start, windows, CELLS)
    matches = mutual_correspondences(images, IMAGES, rendered, places)
    fits = [fit for fit in fit_cameras(matches, images.windows[:, 2], start.focal) if fit is not None]
    assert len(fits) == COUNT
    after = errors_deg(joined([fit.camera for fit in fits]), true)
    assert after.median() < 2
    assert after.max() < 5
    assert min(fit.inliers for fit in fits) > 50


def test_matches_are_mutual_and_among_cells_that_show_something() -> None:
    true = true_cameras(2)
    images = observed([0, 0], true)
    rendered = images.features.clone()
    rendered[:, :, : CELLS // 2] = 0
    coordinates = torch.rand(2, 3, CELLS, CELLS)
    found = mutual_correspondences(images, torch.tensor([1, 0]), rendered.flip(0), coordinates)
    shown = rendered.flip(0).square().sum(dim=1).flatten(1) > 0
    is_exact = found.weights > 1 - 1e-5
    assert torch.equal(is_exact, shown)
    torch.testing.assert_close(found.points[is_exact], coordinates.flatten(2).transpose(1, 2)[shown])
    assert (found.points[found.weights == 0] == 0).all()


def test_exact_pairs_give_the_camera_despite_outliers() -> None:
    true = true_cameras(1)
    points = surface_samples(100).points[None]
    places = true.project(points)[0]
    places[:, :25] += torch.rand(1, 25, 2, generator=torch.Generator().manual_seed(0)) - 0.5
    fits = fit_cameras(Correspondences(places, points, torch.ones(1, 100)), torch.tensor([0.2]), true.focal)
    assert fits[0] is not None
    assert 75 <= fits[0].inliers < 90
    assert errors_deg(fits[0].camera, true) < 1
    again = fit_cameras(Correspondences(places, points, torch.ones(1, 100)), torch.tensor([0.2]), true.focal)
    assert again[0] is not None
    assert torch.equal(again[0].camera.rotation, fits[0].camera.rotation)


def test_too_few_or_flat_pairs_give_none() -> None:
    true = true_cameras(1)
    points = surface_samples(40).points[None]
    few = torch.zeros(1, 40)
    few[:, :5] = 1
    places = true.project(points)[0]
    assert fit_cameras(Correspondences(places, points, few), torch.tensor([1.0]), true.focal) == [None]
    same = torch.zeros_like(points)
    nowhere = 5 * torch.rand(1, 40, 2, generator=torch.Generator().manual_seed(1))
    assert fit_cameras(Correspondences(nowhere, same, torch.ones(1, 40)), torch.tensor([0.05]), true.focal) == [None]
