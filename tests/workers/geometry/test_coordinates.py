import pytest
import torch

from workers.geometry.coordinates import (
    identity_grid,
    index_to_normalised,
    normalised_to_index,
    normalised_to_pixels,
    pixels_to_normalised,
    resize_grid,
    sample,
    sample_at,
)
from workers.geometry.letterbox import Letterbox


@pytest.mark.parametrize("size", [2, 5, 64])
def test_indices_come_back(size: int) -> None:
    index = torch.linspace(-1, size, 17)
    torch.testing.assert_close(normalised_to_index(index_to_normalised(index, size=size), size=size), index)


def test_pixels_count_from_the_corner() -> None:
    points = torch.tensor([[0.0, 0.0], [320.0, 200.0], [160.0, 50.0]])
    normalised = pixels_to_normalised(points, width=320, height=200)
    torch.testing.assert_close(normalised, torch.tensor([[-1.0, -1.0], [1.0, 1.0], [0.0, -0.5]]))
    torch.testing.assert_close(normalised_to_pixels(normalised, width=320, height=200), points)


def test_identity_grid_reads_the_image_itself() -> None:
    image = torch.rand(2, 3, 5, 7, generator=torch.Generator().manual_seed(0))
    grid = identity_grid(5, 7).expand(2, -1, -1, -1)
    torch.testing.assert_close(sample(image, grid), image)
    torch.testing.assert_close(sample_at(image, grid.reshape(2, -1, 2)), image.flatten(2))


@pytest.mark.parametrize("size", [3, 8, 16, 50])
def test_resizing_keeps_linear_maps_exactly(size: int) -> None:
    linear = torch.tensor([[0.8, -0.3], [0.2, 1.1]])
    grid = (identity_grid(16, 16) @ linear.T + 0.1).unsqueeze(0)
    torch.testing.assert_close(resize_grid(grid, size)[0], identity_grid(size, size) @ linear.T + 0.1)


@pytest.mark.parametrize(("width", "height"), [(500, 410), (300, 300), (7, 1000), (333, 97)])
def test_letterbox_returns_points_and_keeps_the_picture_inside(width: int, height: int) -> None:
    box = Letterbox(width, height, 256)
    corners = torch.tensor([[0.0, 0.0], [float(width), float(height)]])
    framed = box.to_frame(corners)
    torch.testing.assert_close(box.to_picture(framed), corners)
    assert framed.min() >= 0
    assert framed.max() <= 256
    assert max(framed[1] - framed[0]) == 256


def test_letterbox_refuses_empty_pictures() -> None:
    with pytest.raises(ValueError, match="0 x 10 in a frame of 256"):
        Letterbox(0, 10, 256)
