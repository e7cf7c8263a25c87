"""Large canvases in tiles of the size that Stable Diffusion was trained on.

As in Telling Left from Right (arXiv 2311.17034), whose 960 pixel canvas is read in four tiles at 0 and 448: tiles lie
side by side, the last one is moved back to end with the canvas, features are averaged where tiles overlap.
"""

from dataclasses import dataclass
from itertools import product

import torch
from torch import Tensor

TILE = 512


def tile_starts(side: int, tile: int = TILE) -> list[int]:
    """First pixels of the tiles along a side; one tile where the side is no longer than it."""
    count = -(-side // tile)
    return [max(0, min(index * tile, side - tile)) for index in range(count)]


@dataclass(frozen=True)
class Tiling:
    """A canvas in tiles, row by row.

    Attributes:
        height, width: the canvas in pixels.
        tile: longest side of a tile in pixels.
    """

    height: int
    width: int
    tile: int = TILE

    @property
    def size(self) -> tuple[int, int]:
        """Height and width of every tile."""
        return min(self.height, self.tile), min(self.width, self.tile)

    @property
    def corners(self) -> list[tuple[int, int]]:
        """Row and column of every tile's first pixel."""
        return list(product(tile_starts(self.height, self.tile), tile_starts(self.width, self.tile)))

    def cut(self, canvases: Tensor) -> Tensor:
        """Cut canvases (N, C, height, width) into (N * T, C, tile height, tile width), an image's tiles together."""
        rows, columns = self.size
        tiles = [canvases[..., top : top + rows, left : left + columns] for top, left in self.corners]
        return torch.stack(tiles, dim=1).flatten(0, 1)

    def merge(self, features: Tensor, stride: int) -> Tensor:
        """Join the tiles' features.

        Args:
            features: (N * T, C, h, w) in the order of `cut`.
            stride: pixels a cell; divides every tile's place and size.

        Returns:
            (N, C, height / stride, width / stride), the mean where tiles overlap.
        """
        by_tile = features.reshape(-1, len(self.corners), *features.shape[1:])
        rows, columns = by_tile.shape[-2:]
        total = features.new_zeros(len(by_tile), features.shape[1], self.height // stride, self.width // stride)
        count = features.new_zeros(total.shape[-2:])
        for index, (top, left) in enumerate(self.corners):
            y, x = top // stride, left // stride
            total[..., y : y + rows, x : x + columns] += by_tile[:, index]
            count[y : y + rows, x : x + columns] += 1
        return total / count
