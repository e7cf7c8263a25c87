"""Results whose maps are known in closed form."""

import numpy as np
import numpy.typing as npt

from alignment.atlas import Atlas
from alignment.pairwise import PairwiseMaps
from alignment.sampling import ImageSize, cell_centres

SIZES = (ImageSize(64, 48), ImageSize(50, 80), ImageSize(32, 32))
# Affine maps canonical -> image pixels: rows are x, y; columns are u, v, 1. The second image is mirrored.
TO_IMAGE = (
    np.array([[40.0, 6.0, 10.0], [-6.0, 36.0, 12.0]]),
    np.array([[-36.0, 4.0, 42.0], [5.0, 50.0, 12.0]]),
    np.array([[24.0, 0.0, 4.0], [0.0, 24.0, 4.0]]),
)


def apply(matrix: npt.NDArray[np.float64], points: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Apply an affine map (2, 3) to points (..., 2)."""
    mapped: npt.NDArray[np.float64] = points @ matrix[:, :2].T + matrix[:, 2]
    return mapped


def invert(matrix: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Invert an affine map (2, 3)."""
    return np.linalg.inv(np.vstack([matrix, (0, 0, 1)]))[:2]


def affine_atlas(size: int = 16) -> Atlas:
    """An atlas of three images with affine maps; canonical coordinates outside [0, 1] are NaN."""
    forward = []
    for image, matrix in zip(SIZES, TO_IMAGE, strict=True):
        canonical = apply(invert(matrix), cell_centres(image.height // 2, image.width // 2, image.extent))
        outside = ((canonical < -0.05) | (canonical > 1.05)).any(axis=-1)
        forward.append(np.where(outside[..., None], np.nan, canonical).astype(np.float32))
    grid = cell_centres(size, size, np.ones(2))
    return Atlas(
        images=SIZES,
        to_canonical=tuple(forward),
        from_canonical=tuple(apply(matrix, grid).astype(np.float32) for matrix in TO_IMAGE),
        confidence=tuple(np.full(field.shape[:2], 0.75, dtype=np.float32) for field in forward),
    )


def affine_pairs() -> PairwiseMaps:
    """The same correspondences as pairwise maps."""
    maps = {}
    for i, size in enumerate(SIZES):
        centres = cell_centres(size.height // 2, size.width // 2, size.extent)
        for j in set(range(len(SIZES))) - {i}:
            maps[i, j] = apply(TO_IMAGE[j], apply(invert(TO_IMAGE[i]), centres)).astype(np.float32)
    confidence = {pair: np.full(field.shape[:2], 0.5, dtype=np.float32) for pair, field in maps.items()}
    return PairwiseMaps(images=SIZES, maps=maps, confidence=confidence)


QUERIED = np.array([[0.2, 0.3], [0.5, 0.5], [0.9, 0.1], [0.7, 0.8]])
"""Canonical places of the points that `queried_points` looks for."""


def queried_points() -> PairwiseMaps:
    """Four points of the first image in both others, the last one not found in the third, and back from the second."""
    points = {(0, 1): found_places(0, 1), (0, 2): found_places(0, 2), (1, 0): found_places(1, 0)}
    points[0, 2][3, 2:] = (np.nan, np.nan, 0)
    return PairwiseMaps(images=SIZES, maps={}, confidence={}, points=points)


def found_places(source: int, target: int) -> npt.NDArray[np.float32]:
    """Rows (4, 5) of points that were found where they are."""
    places = [apply(TO_IMAGE[index], QUERIED) for index in (source, target)]
    return np.column_stack([*places, [0.9, 0.8, 0.7, 0.6]]).astype(np.float32)
