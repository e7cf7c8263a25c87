"""Alignment of camera poses: known transforms, BARF's rules (arXiv 2104.06405) and how ours differ from them."""

import numpy as np
import pytest

from alignment.pose_scores import (
    ScaleRule,
    Similarity,
    angles_between_deg,
    mean_rotation,
    procrustes,
)
from tests.alignment.shapes import Float64
from tests.alignment.test_pose_scores import turn

X, Z = 0, 2
SPHERICAL = np.array([(10, 0, 2), (20, 70, 2.2), (-5, 140, 1.9), (35, 215, 2.1), (60, 290, 2.4)])
"""Elevation and azimuth in degrees, distance; z is up."""
TRUE = Similarity(1.7, turn(Z, 40) @ turn(X, 25), np.array([0.3, -0.2, 0.5]))


def centres() -> Float64:
    elevation, azimuth = np.radians(SPHERICAL[:, 0]), np.radians(SPHERICAL[:, 1])
    flat = np.cos(elevation)
    outward = np.stack([flat * np.cos(azimuth), flat * np.sin(azimuth), np.sin(elevation)], axis=1)
    return np.asarray(SPHERICAL[:, 2:] * outward)


def noisy() -> Float64:
    n = np.arange(5.0)
    return TRUE(centres()) + 0.1 * np.stack([np.sin(n), np.cos(2 * n), np.sin(3 * n + 1)], axis=1)


def rmse(similarity: Similarity, targets: Float64) -> float:
    return float(np.sqrt(((similarity(centres()) - targets) ** 2).sum(axis=1).mean()))


def official_procrustes(points: Float64, targets: Float64) -> Similarity:
    """BARF's: where the best orthogonal matrix is a reflection, the third row of it is flipped."""
    middle, goal = points.mean(axis=0), targets.mean(axis=0)
    radii = [np.sqrt((each**2).sum(axis=1).mean()) for each in (points - middle, targets - goal)]
    left, _, right = np.linalg.svd((targets - goal).T @ (points - middle))
    rotation = left @ right
    if np.linalg.det(rotation) < 0:
        rotation[2] *= -1
    scale = float(radii[1] / radii[0])
    return Similarity(scale, rotation, goal - scale * rotation @ middle)


def test_a_similarity_of_centres_is_recovered() -> None:
    found = procrustes(centres(), TRUE(centres()))
    assert found.scale == pytest.approx(1.7, abs=1e-12)
    assert np.abs(found.rotation - TRUE.rotation).max() < 1e-12
    assert np.abs(found.translation - TRUE.translation).max() < 1e-12


@pytest.mark.parametrize(
    ("rule", "scale", "error"), [("rms", 1.671922, 0.094842), ("least_squares", 1.671208, 0.094832)]
)
def test_noise_in_the_centres(rule: ScaleRule, scale: float, error: float) -> None:
    found = procrustes(centres(), noisy(), scale=rule)
    assert found.scale == pytest.approx(scale, abs=1e-6)
    assert float(angles_between_deg(found.rotation, TRUE.rotation)) == pytest.approx(0.63647, abs=1e-5)
    assert rmse(found, noisy()) == pytest.approx(error, abs=1e-6)


def test_without_reflection_the_ratio_of_radii_is_barfs_rule() -> None:
    ours, official = procrustes(centres(), noisy(), scale="rms"), official_procrustes(centres(), noisy())
    assert ours.scale == pytest.approx(official.scale)
    assert ours.rotation == pytest.approx(official.rotation)
    assert ours.translation == pytest.approx(official.translation)


def test_mirrored_centres_get_the_best_rotation_where_barf_does_not_find_it() -> None:
    mirrored = centres() * (1, 1, -1)
    assert rmse(official_procrustes(centres(), mirrored), mirrored) == pytest.approx(1.53, abs=0.005)
    found = procrustes(centres(), mirrored, scale="rms")
    assert rmse(found, mirrored) == pytest.approx(0.99, abs=0.005)
    assert np.linalg.det(found.rotation) == pytest.approx(1)


def test_a_turn_is_recovered_from_rotations_alone() -> None:
    true = turn(Z, 25) @ turn(X, 50)
    rotations = np.stack([turn(Z, 10 * index) @ turn(X, 33 * index) for index in range(5)])
    assert np.abs(mean_rotation(rotations @ true.T, rotations) - true).max() < 1e-14


def test_angle_between_two_rotations() -> None:
    first, second = turn(Z, 30) @ turn(X, 20), turn(Z, 35) @ turn(X, -10)
    assert float(angles_between_deg(first, second)) == pytest.approx(30.4043770513, abs=1e-9)


def test_equal_rotations_are_equal_where_barfs_clamped_angle_reads_more() -> None:
    same = turn(Z, 30).astype(np.float32)
    cosine = (np.trace(same @ same.T) - np.float32(1)) / np.float32(2)
    clamped = np.clip(cosine, np.float32(-1 + 1e-7), np.float32(1 - 1e-7))
    assert float(np.degrees(np.arccos(clamped))) == pytest.approx(0.0279764, abs=1e-6)
    assert float(angles_between_deg(same, same)) < 1e-6
