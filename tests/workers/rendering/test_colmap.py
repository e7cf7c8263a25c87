import numpy as np
import pytest
import torch

from alignment.camera import Camera
from alignment.sampling import ImageSize
from workers.geometry.cameras import looking_at_origin
from workers.rendering.colmap import cameras_txt, images_txt, points_txt

SIZES = [ImageSize(640, 480), ImageSize(300, 400), ImageSize(500, 500)]
NAMES = ["first.jpg", "second photo.png", "third.webp"]
POINTS = np.array([[0.1, -0.2, 0.3], [0.25, 0.4, -0.1], [-0.3, 0.0, 0.0]])


def posed() -> list[Camera | None]:
    angles = torch.tensor([[20.0, -130.0, 185.0], [15.0, -80.0, 60.0], [1.5, 2.0, 1.2], [40.0, 25.0, 60.0]])
    rolls = torch.tensor([5.0, 170.0, -60.0])
    return list(looking_at_origin(*angles.double(), roll_deg=rolls.double()).as_results())


def rows(text: str) -> list[str]:
    assert text.endswith("\n")
    return [line for line in text.split("\n")[:-1] if not line.startswith("#")]


def rotation_of(w: float, x: float, y: float, z: float) -> np.ndarray:
    """Return the matrix of a Hamilton quaternion, by its definition."""
    return np.array(
        [
            [1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)],
            [2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)],
            [2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)],
        ]
    )


def read_cameras(text: str) -> dict[int, tuple[str, int, int, list[float]]]:
    found = {}
    for row in rows(text):
        number, model, width, height, *parameters = row.split()
        found[int(number)] = (model, int(width), int(height), [float(each) for each in parameters])
    return found


def read_images(text: str) -> dict[int, tuple[np.ndarray, np.ndarray, int, str]]:
    found = {}
    lines = rows(text)
    assert len(lines) % 2 == 0
    assert not any(lines[1::2])
    for row in lines[::2]:
        number, *pose, camera, name = row.split(" ")
        values = [float(each) for each in pose]
        found[int(number)] = (rotation_of(*values[:4]), np.array(values[4:]), int(camera), name)
    return found


def test_points_project_by_the_files_to_where_the_cameras_see_them() -> None:
    cameras = posed()
    intrinsics, poses = read_cameras(cameras_txt(cameras, SIZES)), read_images(images_txt(cameras, NAMES))
    for index, camera in enumerate(cameras):
        assert camera is not None
        rotation, translation, number, _ = poses[index + 1]
        model, width, height, (fx, fy, cx, cy) = intrinsics[number]
        assert (model, width, height) == ("PINHOLE", SIZES[index].width, SIZES[index].height)
        seen = POINTS @ rotation.T + translation
        pixels = seen[:, :2] / seen[:, 2:] * (fx, fy) + (cx, cy)
        wanted, depth = camera.project(POINTS, SIZES[index])
        np.testing.assert_allclose(pixels, wanted, atol=1e-6)
        np.testing.assert_allclose(seen[:, 2], depth, atol=1e-9)


def test_the_camera_centre_is_minus_the_turned_translation() -> None:
    cameras = posed()
    for camera, (rotation, translation, *_) in zip(
        cameras, read_images(images_txt(cameras, NAMES)).values(), strict=True
    ):
        assert camera is not None
        np.testing.assert_allclose(-rotation.T @ translation, camera.to_world[:3, 3], atol=1e-9)


def test_quaternions_have_length_one() -> None:
    for row in rows(images_txt(posed(), NAMES))[::2]:
        quaternion = np.array(row.split()[1:5], dtype=float)
        assert np.linalg.norm(quaternion) == pytest.approx(1, abs=1e-9)
        assert quaternion[0] >= 0


def test_images_without_a_pose_are_left_out_and_the_others_keep_their_numbers() -> None:
    cameras = posed()
    cameras[1] = None
    text = images_txt(cameras, NAMES)
    assert "# Number of images: 2," in text
    assert [(number, pose[2], pose[3]) for number, pose in read_images(text).items()] == [
        (1, 1, "first.jpg"),
        (3, 3, "third.webp"),
    ]
    assert list(read_cameras(cameras_txt(cameras, SIZES))) == [1, 3]


def test_blanks_in_names_become_underscores() -> None:
    assert read_images(images_txt(posed(), NAMES))[2][3] == "second_photo.png"


def test_points_are_written_with_their_colours_and_no_tracks() -> None:
    colours = np.array([[255, 0, 7], [1, 2, 3], [9, 9, 9]], dtype=np.uint8)
    lines = rows(points_txt(POINTS, colours))
    assert [line.split() for line in lines] == [
        ["1", "0.1", "-0.2", "0.3", "255", "0", "7", "0"],
        ["2", "0.25", "0.4", "-0.1", "1", "2", "3", "0"],
        ["3", "-0.3", "0", "0", "9", "9", "9", "0"],
    ]
    assert len({tuple(line.split()[4:7]) for line in rows(points_txt(POINTS))}) == 1


def test_files_about_nothing_are_headers() -> None:
    for text in (cameras_txt([None], SIZES[:1]), images_txt([None], NAMES[:1]), points_txt()):
        assert rows(text) == []
        assert text.startswith("# ")
