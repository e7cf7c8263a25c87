import torch

from tests.workers.methods.congealing_3d.pose.posed_animals import (
    candidates_near,
    errors_deg,
    observed,
    surface_samples,
    true_cameras,
)
from workers.geometry.cameras import Cameras, exponential
from workers.methods.congealing_3d.pose.feature_refinement import feature_distances, refine_by_features
from workers.methods.congealing_3d.pose.visibility import visible_points

COUNT = 8
IMAGES = torch.arange(COUNT)


def test_features_bring_poses_near() -> None:
    true = true_cameras(COUNT)
    images, samples, start = observed([0] * COUNT, true), surface_samples(), candidates_near(true)
    found = refine_by_features(images, samples, start, IMAGES)
    after = errors_deg(found.cameras, true)
    assert after.median() < 1.5
    assert after.max() < 5
    before, now = (feature_distances(images, samples, poses, IMAGES) for poses in (start, found.cameras))
    assert (now < before).all()


def test_noise_of_more_than_their_length_is_borne() -> None:
    true = true_cameras(COUNT)
    images = observed([0] * COUNT, true, noise=1.6)
    found = refine_by_features(images, surface_samples(), candidates_near(true), IMAGES)
    after = errors_deg(found.cameras, true)
    assert after.median() < 2.5
    assert after.max() < 8


def test_tilted_pictures_are_righted() -> None:
    true = true_cameras(COUNT)
    roll = torch.tensor([[0.0, 0.0, 10.0]]).deg2rad().expand(COUNT, -1)
    level = candidates_near(true, low_deg=0, high_deg=5)
    start = Cameras(exponential(roll) @ level.rotation, level.translation, level.focal)
    images = observed([0] * COUNT, true)
    found = refine_by_features(images, surface_samples(), start, IMAGES)
    assert errors_deg(start, true).median() > 8
    assert errors_deg(found.cameras, true).max() < 5


def test_a_pose_from_the_other_side_is_far_off() -> None:
    true = true_cameras(COUNT)
    images, samples = observed([0] * COUNT, true), surface_samples()
    half_turn = exponential(torch.tensor([[0.0, torch.pi, 0.0]]))
    behind = Cameras(true.rotation @ half_turn, true.translation, true.focal)
    near, far = (feature_distances(images, samples, poses, IMAGES) for poses in (true, behind))
    assert (far > 4 * near).all()


def test_faces_turned_away_and_hidden_ones_are_not_visible() -> None:
    camera = Cameras(torch.eye(3)[None], torch.tensor([[0.0, 0.0, 2.0]]), torch.ones(1))
    samples = surface_samples(60)
    axis = torch.linspace(-0.5, 0.5, 30)
    grid = torch.stack(torch.meshgrid(axis, axis, indexing="xy"), dim=-1).view(-1, 2)
    sheets = torch.cat([torch.cat([grid, torch.full((900, 1), z)], dim=1) for z in (-0.2, 0.2, -0.2)])
    normals = torch.tensor([[0.0, 0.0, -1.0]]).repeat(2700, 1)
    normals[1800:] *= -1
    found = visible_points(type(samples)(sheets, normals, torch.ones(2700, 1)), camera)[0]
    assert found[:900].all()
    assert found[900:1800].float().mean() < 0.2
    assert not found[1800:].any()
