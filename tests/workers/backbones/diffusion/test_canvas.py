import pytest
import torch
from torch.testing import assert_close

from tests.workers.backbones.diffusion.tiny import picture
from workers.backbones.base import cells_of, spread
from workers.backbones.diffusion.canvas import canvas_side, on_canvas


@pytest.mark.parametrize(("side", "expected"), [(32, 64), (64, 64), (95, 64), (97, 128), (500, 512), (960, 960)])
def test_sides_become_multiples_of_64_pixels(side: int, expected: int) -> None:
    assert canvas_side(side) == expected


def test_fitting_images_stay_as_they_are() -> None:
    images = picture(64, 128)
    assert on_canvas(images) is images


def test_canvas_shows_the_whole_image() -> None:
    assert_close(on_canvas(picture(120, 200)), picture(128, 192), atol=0.03, rtol=0)


def test_spread_keeps_places() -> None:
    """A ramp over the image reads the same at the centres of cells of any size, but for the outermost."""
    ramp = (torch.arange(16.0) + 0.5).div(16).expand(1, 1, 8, 16)
    read = spread(ramp, (5, 10))
    assert_close(read[0, 0, 2, 1:-1], (torch.arange(1.0, 9.0) + 0.5) / 10)


def test_cells_are_counted_as_the_contract_says() -> None:
    assert cells_of(torch.zeros(1, 3, 100, 203), 16) == (6, 13)
