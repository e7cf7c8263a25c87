import torch
from torch import Tensor
from torch.testing import assert_close

from alignment.camera import Camera
from workers.backbones.mvdream.conditions import camera_conditions
from workers.geometry.cameras import Cameras, looking_at_origin


def cameras(*, distance: float = 1.5, fov_deg: float = 40) -> Cameras:
    azimuths = torch.tensor([0.0, 75, 200, 310], dtype=torch.float64)
    elevations = torch.tensor([15.0, -20, 60, 90], dtype=torch.float64)
    same = torch.ones_like(azimuths)
    return looking_at_origin(azimuths, elevations, distance * same, fov_deg * same)


def matrices(given: Cameras) -> Tensor:
    return camera_conditions(given).view(-1, 4, 4)


def turned_to_z_up(camera: Camera) -> Tensor:
    """A result's camera-to-world matrix in MVDream's frame: our (x, y, z) is half of its (x, z, -y)."""
    to_z_up = torch.tensor([[2.0, 0, 0, 0], [0, 0, -2, 0], [0, 2, 0, 0], [0, 0, 0, 1]], dtype=torch.float64)
    moved = to_z_up @ torch.from_numpy(camera.to_world)
    moved[:3, :3] /= 2
    return moved


def test_conditions_are_the_cameras_of_results_turned_with_the_place_at_distance_1() -> None:
    given = cameras()
    for found, camera in zip(matrices(given), given.as_results(), strict=True):
        expected = turned_to_z_up(camera)
        assert torch.allclose(expected[:3, 3].norm(), torch.tensor(3.0, dtype=torch.float64))
        expected[:3, 3] /= 3
        assert_close(found, expected, rtol=0, atol=1e-7)


def test_distance_and_field_of_view_are_not_told() -> None:
    assert_close(camera_conditions(cameras(distance=4, fov_deg=15)), camera_conditions(cameras()), rtol=0, atol=1e-7)


def test_z_is_up_and_cameras_look_along_minus_z() -> None:
    found = matrices(cameras())
    assert_close(found[3, :3, 3], torch.tensor([0.0, 0, 1], dtype=torch.float64), rtol=0, atol=1e-7)
    assert_close(found[:, :3, 2], found[:, :3, 3], rtol=0, atol=1e-7)
    assert_close(torch.linalg.det(found[:, :3, :3]), torch.ones(4, dtype=torch.float64))


def test_the_given_cameras_stay_as_they_are() -> None:
    given = cameras()
    before = given.rotation.clone(), given.translation.clone()
    camera_conditions(given).zero_()
    assert torch.equal(given.rotation, before[0])
    assert torch.equal(given.translation, before[1])


def test_precision_is_that_of_the_cameras() -> None:
    given = cameras()
    single = Cameras(given.rotation.float(), given.translation.float(), given.focal.float())
    assert camera_conditions(single).dtype == torch.float32
    assert_close(camera_conditions(single).double(), camera_conditions(given), rtol=0, atol=1e-6)
