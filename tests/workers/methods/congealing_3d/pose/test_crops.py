import numpy as np
import numpy.typing as npt
import pytest
import torch

from workers.methods.base import Annotation, InputImage
from workers.methods.congealing_3d.pose.crops import cropped, object_windows
from workers.methods.congealing_3d.pose.grid import MARGIN

RED = (255, 0, 0)


def image_with(
    box: tuple[int, int, int, int], size: tuple[int, int] = (120, 80)
) -> tuple[InputImage, npt.NDArray[np.float32]]:
    """A red box (x0, y0, x1, y1) on blue, and its mask."""
    rgb = np.full((size[1], size[0], 3), (0, 0, 255), dtype=np.uint8)
    mask = np.zeros((size[1], size[0]), dtype=np.float32)
    x0, y0, x1, y1 = box
    rgb[y0:y1, x0:x1] = RED
    mask[y0:y1, x0:x1] = 1
    return InputImage("a.png", rgb), mask


def test_windows_lie_tightly_around_masks() -> None:
    image, mask = image_with((20, 10, 60, 30))
    (x, y, half) = object_windows([image], [mask])[0].tolist()
    assert x == pytest.approx((40 - 60) / 40)
    assert y == pytest.approx((20 - 40) / 40)
    assert half == pytest.approx(20 / 40 * MARGIN)


def test_without_masks_boxes_count_and_without_boxes_the_whole_picture() -> None:
    image, _ = image_with((0, 0, 1, 1))
    boxed = InputImage("b.png", image.rgb, annotation=Annotation("cat", None, np.zeros((0, 3)), (20, 10, 60, 30)))
    boxless = InputImage("c.png", image.rgb, annotation=Annotation("cat", None, np.zeros((0, 3))))
    first, second, third = object_windows([boxed, boxless, image], None)
    torch.testing.assert_close(first, torch.tensor([-0.5, -0.5, 0.5 * MARGIN]))
    torch.testing.assert_close(second, torch.tensor([0, 0, 1.5 * MARGIN]))
    torch.testing.assert_close(second, third)
    masked = object_windows([boxed], [image_with((0, 0, 120, 80))[1]])[0]
    torch.testing.assert_close(masked, second)


def test_crops_show_the_object_on_white() -> None:
    image, mask = image_with((20, 10, 60, 30))
    crops = cropped([image], object_windows([image], [mask]), [mask], 64)
    assert crops.masks is not None
    assert crops.pictures.shape == (1, 3, 64, 64)
    assert crops.masks.shape == (1, 1, 64, 64)
    assert crops.pictures[0, :, 32, 32].tolist() == pytest.approx([1, 0, 0], abs=1e-5)
    assert crops.pictures[0, :, 4, 32].tolist() == [1, 1, 1]
    assert float(crops.masks.mean()) == pytest.approx(0.5 / MARGIN**2, abs=0.02)


def test_beyond_the_border_crops_are_white_and_without_masks_nothing_is_cut_out() -> None:
    image, mask = image_with((0, 0, 30, 80))
    crops = cropped([image], object_windows([image], [mask]), None, 64)
    assert crops.masks is None
    assert crops.pictures[0, :, 32, 1].tolist() == [1, 1, 1]
    assert crops.pictures[0, :, 32, 32].tolist() == pytest.approx([1, 0, 0], abs=1e-5)
    assert crops.pictures[0, :, 32, 60].tolist() == pytest.approx([0, 0, 1], abs=1e-5)


@pytest.mark.parametrize("size", [(640, 20), (20, 640)])
def test_long_thin_pictures_are_cut_where_the_object_is(size: tuple[int, int]) -> None:
    width, height = size
    box = (width * 3 // 4, height * 3 // 4, width * 3 // 4 + 4, height * 3 // 4 + 4)
    image, mask = image_with(box, size)
    crops = cropped([image], object_windows([image], [mask]), [mask], 32)
    assert crops.masks is not None
    assert float(crops.masks.mean()) > 0.85
    assert crops.pictures[0, :, 16, 16].tolist() == pytest.approx([1, 0, 0], abs=1e-5)


def test_large_pictures_are_averaged() -> None:
    checks = (np.indices((512, 512)).sum(axis=0) % 2 * 255).astype(np.uint8)
    image = InputImage("a.png", np.repeat(checks[..., None], 3, axis=2))
    crop = cropped([image], torch.tensor([[0.0, 0.0, 1.0]]), None, 64).pictures
    assert (crop - 0.5).abs().max() < 0.02
