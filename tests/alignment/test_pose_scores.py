"""Errors of camera poses against known turns, shifts and mistakes; golden values stand in `tests/golden`."""

import numpy as np
import pytest

from alignment.camera import Camera
from alignment.pose_scores import Alignment, Similarity, TooFewPosesError, angles_between_deg, pose_report
from tests.alignment.shapes import Float64, camera_at

TRUTH = [camera_at(azimuth, elevation) for azimuth, elevation in ((0, 10), (70, 25), (150, -5), (215, 40), (290, 60))]
ALIGNMENTS: list[Alignment] = ["rotation", "barf"]


def turn(axis: int, angle_deg: float) -> Float64:
    """Rotate about an axis of the frame."""
    cosine, sine = np.cos(np.radians(angle_deg)), np.sin(np.radians(angle_deg))
    first, second = (axis + 1) % 3, (axis + 2) % 3
    matrix = np.eye(3)
    matrix[first, first] = matrix[second, second] = cosine
    matrix[second, first], matrix[first, second] = sine, -sine
    return matrix


def moved(camera: Camera, similarity: Similarity) -> Camera:
    """The same camera told in another frame."""
    to_world = np.eye(4)
    to_world[:3, :3] = similarity.rotation @ camera.to_world[:3, :3]
    to_world[:3, 3] = similarity(camera.to_world[:3, 3])
    return Camera(to_world, camera.fov_deg)


def rolled(camera: Camera, angle_deg: float) -> Camera:
    """Turn a camera about its own axis."""
    to_world = camera.to_world.copy()
    to_world[:3, :3] = to_world[:3, :3] @ turn(2, angle_deg)
    return Camera(to_world, camera.fov_deg)


OTHER = Similarity(1.7, turn(2, 40) @ turn(0, 25), np.array([0.3, -0.2, 0.5]))


@pytest.mark.parametrize("alignment", ALIGNMENTS)
def test_poses_in_another_frame_are_exact(alignment: Alignment) -> None:
    report = pose_report([moved(camera, OTHER) for camera in TRUTH], TRUTH, alignment=alignment)
    assert report.mean_rotation_deg < 1e-6
    assert report.mean_translation < 1e-9
    assert report.accuracy == {10.0: 1.0, 15.0: 1.0, 30.0: 1.0}
    assert (report.known, report.missing) == (5, 0)
    assert report.to_truth.scale == pytest.approx(1 / 1.7)
    assert report.to_truth.rotation == pytest.approx(OTHER.rotation.T)
    point = np.array([0.1, 0.2, 0.3])
    assert report.to_truth(OTHER(point)) == pytest.approx(point)


def test_one_wrong_rotation_is_measured_by_centres_alone_as_it_is() -> None:
    found = [rolled(moved(TRUTH[0], OTHER), 20), *(moved(camera, OTHER) for camera in TRUTH[1:])]
    report = pose_report(found, TRUTH, alignment="barf")
    assert report.rotation_deg == pytest.approx([20, 0, 0, 0, 0], abs=1e-5)
    assert report.accuracy == {10.0: 0.8, 15.0: 0.8, 30.0: 1.0}
    assert (report.mean_rotation_deg, report.median_rotation_deg) == pytest.approx((4, 0), abs=1e-5)
    # The camera looks at the origin, so that a roll moves nothing.
    assert report.mean_translation < 1e-9


def test_the_mean_rotation_shares_out_what_is_wrong() -> None:
    found = [rolled(moved(TRUTH[0], OTHER), 20), *(moved(camera, OTHER) for camera in TRUTH[1:])]
    report = pose_report(found, TRUTH, alignment="rotation")
    first, *others = report.rotation_deg
    assert first == pytest.approx(16, abs=0.5)
    assert others == pytest.approx([4] * 4, abs=0.5)


def test_missing_poses_count_as_wrong_and_unknown_ones_not_at_all() -> None:
    found: list[Camera | None] = [moved(camera, OTHER) for camera in TRUTH]
    known: list[Camera | None] = [*TRUTH]
    found[1], known[4] = None, None
    report = pose_report(found, known)
    assert (report.known, report.missing) == (4, 1)
    assert report.accuracy[10.0] == 0.75
    assert [angle is None for angle in report.rotation_deg] == [False, True, False, False, True]
    assert [shift is None for shift in report.translation] == [False, True, False, False, True]


@pytest.mark.parametrize("alignment", ALIGNMENTS)
def test_translation_is_in_units_of_the_known_cameras_distance(alignment: Alignment) -> None:
    shifted = [camera_at(azimuth, 20.0) for azimuth in (0, 60, 120, 180, 240, 300)]
    away = camera_at(0, 20.0, distance=2.2 * 1.3)
    small = pose_report([away, *shifted[1:]], shifted, alignment=alignment)
    large = Similarity(50.0, np.eye(3), np.array([7.0, 8.0, 9.0]))
    same = pose_report([away, *shifted[1:]], [moved(camera, large) for camera in shifted], alignment=alignment)
    assert 0.1 < small.translation[0] < 0.3  # type: ignore[operator]
    if alignment == "rotation":
        assert same.translation == pytest.approx(small.translation)
    else:
        # Distances between origins seen from the cameras change with the origin where rotations are off.
        assert same.rotation_deg == pytest.approx(small.rotation_deg, abs=1e-6)


def test_one_pose_is_enough_for_rotations_and_three_for_centres() -> None:
    report = pose_report([camera_at(30)], [camera_at(0)])
    assert report.rotation_deg == pytest.approx([0], abs=1e-6)
    with pytest.raises(TooFewPosesError, match=r"at least 3.*align by 'rotation'"):
        pose_report(TRUTH[:2], TRUTH[:2], alignment="barf")
    with pytest.raises(TooFewPosesError, match=r"^0 images.*at least 1"):
        pose_report([None, TRUTH[0]], [TRUTH[1], None])
    with pytest.raises(ValueError, match="zip"):
        pose_report(TRUTH, TRUTH[:3])


@pytest.mark.parametrize("alignment", ALIGNMENTS)
def test_symmetric_objects_are_compared_with_the_nearest_pose_that_looks_the_same(alignment: Alignment) -> None:
    half = turn(1, 180)
    turned = Similarity(1.0, half, np.zeros(3))
    found = [moved(moved(camera, turned) if index in (1, 3) else camera, OTHER) for index, camera in enumerate(TRUTH)]
    plain = pose_report(found, TRUTH, alignment=alignment)
    told = pose_report(found, TRUTH, alignment=alignment, symmetries=[half])
    assert plain.accuracy[30.0] < 0.7
    assert told.accuracy[10.0] == 1
    assert told.mean_rotation_deg < 1e-6
    assert told.mean_translation < 1e-9


def test_small_and_large_angles_are_exact() -> None:
    for angle in (0.0, 1e-7, 0.5, 90.0, 179.9999, 180.0):
        assert angles_between_deg(turn(0, 33), turn(0, 33) @ turn(1, angle)) == pytest.approx(angle, abs=1e-9)
