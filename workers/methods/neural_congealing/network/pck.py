"""Which keypoints the official evaluation of Neural Congealing compares, and how it counts them (its `eval/pck.py`)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Keypoints:
    """Keypoints of one picture as it was aligned.

    Attributes:
        points: (K, 2) pixel indices in the square picture as it is.
        visible: (K,) bool.
        mirrored: whether the alignment mirrored the picture.
    """

    points: Tensor
    visible: Tensor
    mirrored: bool

    def aligned(self, size: int) -> Tensor:
        """The points in the picture as aligned, of `size` pixels a side."""
        if not self.mirrored:
            return self.points
        return self.points * self.points.new_tensor([-1.0, 1.0]) + self.points.new_tensor([size - 1.0, 0.0])


@dataclass(frozen=True)
class PointPair:
    """Points (K, 2) to carry, where they should arrive, and which of them count (K,)."""

    source: Tensor
    target: Tensor
    counted: Tensor


def point_pair(
    source: Keypoints, target: Keypoints, permutation: Sequence[int], *, size: int, compat: bool = False
) -> PointPair:
    """The points to compare between two pictures of `size` pixels a side.

    Where only one of them is mirrored, left and right parts change places: the source's keypoints are put in the
    order `permutation`. With `compat` the visibilities are not, as in the official code, which then counts some
    points that are not visible; else they are.
    """
    points, visible = source.aligned(size), source.visible
    if source.mirrored != target.mirrored:
        order = torch.tensor(permutation, device=points.device)
        points = points[order]
        visible = visible if compat else visible[order]
    return PointPair(points, target.aligned(size), visible & target.visible)


def correct(estimated: Tensor, truth: Tensor, threshold_px: float) -> Tensor:
    """Which (K,) of the estimated points (K, 2) lie within the threshold of the truth, the threshold included."""
    within: Tensor = (estimated - truth).norm(dim=1) <= threshold_px
    return within


def pck(estimated: Sequence[Tensor], pairs: Sequence[PointPair], thresholds_px: Sequence[float]) -> float:
    """Share of correct points among all that count in all pairs (a mean over points, not over pairs).

    Raises:
        ValueError: no point counts.
    """
    hits, total = 0, 0
    for points, pair, threshold in zip(estimated, pairs, thresholds_px, strict=True):
        hits += int((correct(points, pair.target, threshold) & pair.counted).sum())
        total += int(pair.counted.sum())
    if total == 0:
        raise ValueError("no keypoint is visible in both pictures of any pair; PCK needs at least one")
    return hits / total
