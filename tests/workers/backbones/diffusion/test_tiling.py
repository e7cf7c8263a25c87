import pytest
import torch
from torch import Tensor
from torch.nn.functional import avg_pool2d
from torch.testing import assert_close

from workers.backbones.diffusion.tiling import Tiling, tile_starts


@pytest.mark.parametrize(
    ("side", "starts"),
    [(64, [0]), (512, [0]), (576, [0, 64]), (960, [0, 448]), (1024, [0, 512]), (1280, [0, 512, 768])],
)
def test_tiles_lie_side_by_side_and_the_last_ends_with_the_canvas(side: int, starts: list[int]) -> None:
    assert tile_starts(side) == starts


def coordinates(height: int, width: int) -> Tensor:
    y, x = torch.meshgrid(torch.arange(float(height)), torch.arange(float(width)), indexing="ij")
    return torch.stack([torch.stack([y, x]), torch.stack([x, -y])])


@pytest.mark.parametrize("size", [(64, 96), (128, 128), (192, 64), (160, 288)])
def test_what_every_tile_says_of_its_pixels_is_what_the_canvas_says(size: tuple[int, int]) -> None:
    canvases = coordinates(*size)
    tiling = Tiling(*size, tile=128)
    tiles = tiling.cut(canvases)
    assert tiles.shape == (2 * len(tiling.corners), 2, *tiling.size)
    assert_close(tiling.merge(avg_pool2d(tiles, 16), 16), avg_pool2d(canvases, 16))
