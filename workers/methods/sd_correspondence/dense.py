"""Dense maps from a grid of points, to the images in which they were found and back."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt
import torch

from alignment.sampling import ImageSize
from workers.geometry.coordinates import normalised_to_pixels, pixels_to_normalised, sample
from workers.geometry.inversion import invert_grid

_CELLS = 64
_FAR = 10.0
Pair = tuple[int, int]
Maps = dict[Pair, npt.NDArray[np.float32]]


def dense_maps(
    points: Mapping[Pair, npt.NDArray[np.float32]], source: int, side: int, sizes: Sequence[ImageSize]
) -> tuple[Maps, Maps]:
    """Maps (h, w, 2) and confidences (h, w) from the grid's image and back to it, by pair.

    The way back is the inverse of the way there: it says where the map of the grid comes from, not that it is right.

    Args:
        points: per pair (P, 5), see `PairwiseMaps`; those from `source` are of a grid of `side` x `side`, row by row.
        source: the grid's image.
        side: points in a row.
        sizes: of all images.
    """
    maps: Maps = {}
    confidence: Maps = {}
    for (start, target), rows in points.items():
        if start == source:
            grid = rows.reshape(side, side, 5)
            there, sure = grid[..., 2:4].copy(), np.nan_to_num(grid[..., 4])
            maps[source, target], confidence[source, target] = there, sure
            maps[target, source], confidence[target, source] = _inverse(there, sure, sizes[source], sizes[target])
    return maps, confidence


def _inverse(
    there: npt.NDArray[np.float32], sure: npt.NDArray[np.float32], source: ImageSize, target: ImageSize
) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
    """For cells of the target, 64 along its longer side, the place in the source and how sure it is; NaN for none."""
    scale = _CELLS / max(target.width, target.height)
    rows, columns = max(1, round(target.height * scale)), max(1, round(target.width * scale))
    grid = pixels_to_normalised(torch.from_numpy(there), width=target.width, height=target.height)
    inverse = invert_grid(grid.nan_to_num(_FAR), rows, columns)
    trust = sample(torch.from_numpy(sure)[None, None], inverse.points[None].float())[0, 0] * inverse.valid
    places = normalised_to_pixels(inverse.points, width=source.width, height=source.height)
    places = places.where(inverse.valid[..., None], torch.nan)
    return places.float().numpy(), trust.numpy()
