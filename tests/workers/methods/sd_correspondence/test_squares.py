import numpy as np
import pytest
import torch
from torch.testing import assert_close

from workers.methods.sd_correspondence.squares import Square, padded, square_picture, stretched

SIZES = [(640, 480), (77, 301), (512, 512), (1, 9), (333, 334)]
SQUARES = [lay(*size, 256) for lay in (stretched, padded) for size in SIZES]


def drawn(width: int, height: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


@pytest.mark.parametrize("square", SQUARES)
def test_points_come_back_where_they_were(square: Square) -> None:
    corners = np.array([[0, 0], [square.width, square.height], [0.3 * square.width, 0.8 * square.height]])
    inside = square.inward(corners)
    np.testing.assert_allclose(square.outward(inside), corners, atol=1e-9)
    x, y, width, height = square.box
    np.testing.assert_allclose(inside[:2], [[x, y], [x + width, y + height]])


@pytest.mark.parametrize("square", SQUARES)
def test_the_box_lies_in_the_square_and_is_what_is_inside(square: Square) -> None:
    x, y, width, height = square.box
    assert min(x, y) >= 0
    assert min(width, height) >= 1
    assert max(x + width, y + height) <= square.size
    inside = square.inside()
    assert inside.shape == (256, 256)
    assert int(inside.sum()) == width * height
    assert bool(inside[y, x])
    assert bool(inside[y + height - 1, x + width - 1])
    assert square.is_full == bool(inside.all())


def test_stretching_fills_the_square_and_padding_keeps_the_shape() -> None:
    assert stretched(640, 480, 512).box == (0, 0, 512, 512)
    assert padded(640, 480, 512).box == (0, 64, 512, 384)
    assert padded(480, 640, 512).box == (64, 0, 384, 512)
    assert padded(77, 301, 256).box == (95, 0, 65, 256)
    assert padded(333, 333, 256).is_full


@pytest.mark.parametrize("square", [stretched(64, 64, 64), padded(64, 64, 64)])
def test_a_picture_of_the_right_size_stays_as_it_is(square: Square) -> None:
    rgb = drawn(64, 64)
    assert_close(square_picture(rgb, square), torch.from_numpy(rgb).permute(2, 0, 1) / 255, rtol=0, atol=1e-6)


def test_round_a_padded_picture_its_edges_are_repeated() -> None:
    picture = square_picture(drawn(101, 33), padded(101, 33, 128))
    x, y, width, height = padded(101, 33, 128).box
    assert picture.shape == (3, 128, 128)
    assert (x, width) == (0, 128)
    assert_close(picture[:, :y], picture[:, y : y + 1].expand(-1, y, -1))
    below = picture[:, y + height :]
    assert_close(below, picture[:, y + height - 1 : y + height].expand(-1, below.shape[1], -1))
    assert 0 <= float(picture.min()) <= float(picture.max()) <= 1


def test_what_lies_at_a_point_lies_at_its_place_in_the_square() -> None:
    rgb = np.zeros((120, 200, 3), dtype=np.uint8)
    rgb[80:90, 150:160] = 255
    for square in (stretched(200, 120, 256), padded(200, 120, 256)):
        bright = square_picture(rgb, square)[0]
        rows, columns = torch.nonzero(bright > 0.5).float().mean(0) + 0.5
        np.testing.assert_allclose(
            square.inward(np.array([[155.0, 85.0]]))[0], [float(columns), float(rows)], atol=0.51
        )
