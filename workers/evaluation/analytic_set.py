"""A set of pictures given by formulas, with true canonical coordinates, for alignment methods that begin from matches.

Every picture shows one ellipse of a coloured canonical plane through its own similarity and ripple. Matches between
pictures are near the truth, but for a chosen share that ends anywhere on the object.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import combinations

import numpy as np
import numpy.typing as npt

IMAGES = 8
BACKGROUND = 4
_MATCH_STEP = 4
_MATCH_REACH = 3.0
_KEYPOINTS = (-0.45, -0.15, 0.15, 0.45)
_PAIR_SEED = 1000

Array = npt.NDArray[np.float64]


@dataclass(frozen=True)
class PairMatches:
    """M matches between two pictures, first < second.

    Attributes:
        first_px: (M, 2) whole pixels (x, y).
        second_px: (M, 2).
        true: (M,), False where the partner was replaced.
    """

    first_px: npt.NDArray[np.int64]
    second_px: npt.NDArray[np.int64]
    true: npt.NDArray[np.bool_]


@dataclass(frozen=True)
class AnalyticSet:
    """N pictures of S x S pixels.

    Attributes:
        canonical: (N, S, S, 2), where each pixel lies in the canonical plane.
        masks: (N, S, S), where the object is.
        pictures: (N, S, S, 3), about [-1, 1].
        parts: (N, S, S), quadrants 0 to 3, 4 outside.
        keypoints: (N, 16, 2), whole pixels (x, y) nearest to a lattice of the canonical plane.
    """

    canonical: Array
    masks: npt.NDArray[np.bool_]
    pictures: Array
    parts: npt.NDArray[np.int64]
    keypoints: npt.NDArray[np.int64]

    @property
    def size(self) -> int:
        """Pixels a side."""
        return int(self.masks.shape[1])

    def matches(self, outliers: float) -> dict[tuple[int, int], PairMatches]:
        """Matches of all pairs (i, j) with i < j, about this share of them replaced by random ones."""
        return {(i, j): self._pair(i, j, outliers) for i, j in combinations(range(len(self.masks)), 2)}

    def _pair(self, i: int, j: int, outliers: float) -> PairMatches:
        lattice = np.arange(2, self.size, _MATCH_STEP)
        x, y = (axis.ravel() for axis in np.meshgrid(lattice, lattice))
        on_object = self.masks[i][y, x]
        x, y = x[on_object], y[on_object]
        rows, columns = np.nonzero(self.masks[j])
        gaps = np.linalg.norm(self.canonical[i][y, x][:, None] - self.canonical[j][rows, columns][None], axis=2)
        nearest = gaps.argmin(axis=1)
        kept = gaps.min(axis=1) < _MATCH_REACH / (self.size - 1)
        first, nearest = np.stack([x, y], axis=1)[kept], nearest[kept]
        count = len(first)
        draw = hashed(2 * count, _PAIR_SEED + 37 * i + j) + 0.5
        true = draw[:count] >= outliers
        nearest = np.where(true, nearest, (draw[count:] * len(rows)).astype(np.int64))
        return PairMatches(first, np.stack([columns[nearest], rows[nearest]], axis=1), true)


def analytic_set(size: int = 64) -> AnalyticSet:
    """Draw the set at `size` x `size` pixels."""
    axis = 2 * np.arange(size) / (size - 1) - 1
    places = np.stack(np.meshgrid(axis, axis), axis=-1)
    canonical = np.stack([_canonical(places, i) for i in range(IMAGES)])
    u, v = canonical[..., 0], canonical[..., 1]
    masks = u**2 / 0.64 + v**2 / 0.49 < 1
    index = np.arange(IMAGES)[:, None, None, None]
    colours = np.stack([np.sin(3 * u + 1.3 * np.sin(2 * v)), np.cos(2.5 * v - u**2), np.sin(4 * u * v + 0.5)], axis=-1)
    inside = colours * 0.8 * (0.8 + 0.2 * np.sin(index)) + 0.1 * np.cos(index)
    outside = 0.3 * np.sin(9 * places[None, ..., :1] + 2 * index)
    parts = (u > 0).astype(np.int64) + 2 * (v > 0)
    return AnalyticSet(
        canonical=canonical,
        masks=masks,
        pictures=np.where(masks[..., None], inside, outside),
        parts=np.where(masks, parts, BACKGROUND),
        keypoints=np.stack([_keypoints(canonical[i], masks[i]) for i in range(IMAGES)]),
    )


def hashed(count: int, seed: int) -> Array:
    """Numbers (count,) in [-0.5, 0.5) that look random and are the same everywhere."""
    h = (np.arange(1, count + 1, dtype=np.uint64) * 2654435761 + 40503 * seed).astype(np.uint32)
    h ^= h >> 15
    h *= np.uint32(2246822519)
    h ^= h >> 13
    return h / 2.0**32 - 0.5


def _canonical(places: Array, i: int) -> Array:
    angle, scale = 0.35 * np.sin(1.7 * i), 1 + 0.2 * np.cos(2.3 * i)
    x, y = places[..., 0], places[..., 1]
    ax, ay = x - 0.15 * np.sin(0.9 * i + 1), y - 0.12 * np.cos(1.3 * i)
    u = scale * (np.cos(angle) * ax - np.sin(angle) * ay) + 0.06 * np.sin(3 * y + i)
    v = scale * (np.sin(angle) * ax + np.cos(angle) * ay) + 0.06 * np.cos(2.5 * x - i)
    return np.stack([u, v], axis=-1)


def _keypoints(canonical: Array, mask: npt.NDArray[np.bool_]) -> npt.NDArray[np.int64]:
    wanted = np.array([(u, v) for v in _KEYPOINTS for u in _KEYPOINTS])
    rows, columns = np.nonzero(mask)
    nearest = np.linalg.norm(canonical[rows, columns][None] - wanted[:, None], axis=2).argmin(axis=1)
    return np.stack([columns[nearest], rows[nearest]], axis=1)
