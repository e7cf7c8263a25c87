"""Scores against known keypoints: percentage of correct keypoints (PCK)."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import permutations

import numpy as np
import numpy.typing as npt

from alignment.forms import Form
from alignment.sampling import ImageSize


@dataclass(frozen=True)
class AnnotatedImage:
    """Known keypoints of one image."""

    keypoints: npt.NDArray[np.float64]
    """(K, 3): x, y in pixels and visibility 0 or 1."""
    side_px: float
    """Length that alpha is a share of: the longer side of the object's box, or of the image."""


@dataclass(frozen=True)
class PckScore:
    """Shares in [0, 1] at one alpha."""

    alpha: float
    per_point: float
    per_pair: float
    identity: float


@dataclass(frozen=True)
class PckReport:
    """PCK over all ordered pairs of annotated images."""

    pairs: int
    points: int
    missing: int
    median_error_px: float | None
    scores: tuple[PckScore, ...]


@dataclass(frozen=True)
class _PairErrors:
    """Errors (P,) of one pair as shares of the target's side; infinite where a point was lost."""

    carried: npt.NDArray[np.float64]
    identity: npt.NDArray[np.float64]
    side_px: float


def pck(form: Form, annotated: Mapping[int, AnnotatedImage], alphas: Sequence[float]) -> PckReport:
    """Carry every keypoint visible in both images of a pair; count those within alpha x side (inclusive) of the truth.

    Points that the result cannot carry count as wrong. The identity baseline copies a keypoint to the same relative
    place. Where no pair shares a visible keypoint, `points` is 0 and all shares are 0.
    """
    pairs = [_pair_errors(form, annotated, i, j) for i, j in permutations(sorted(annotated), 2)]
    pairs = [pair for pair in pairs if pair.carried.size]
    if not pairs:
        return PckReport(0, 0, 0, None, tuple(PckScore(alpha, 0.0, 0.0, 0.0) for alpha in alphas))
    carried = np.concatenate([pair.carried for pair in pairs])
    pixels = np.concatenate([pair.carried * pair.side_px for pair in pairs])
    median = float(np.median(pixels))
    return PckReport(
        pairs=len(pairs),
        points=carried.size,
        missing=int(np.isinf(carried).sum()),
        median_error_px=median if np.isfinite(median) else None,
        scores=tuple(_score(pairs, alpha) for alpha in alphas),
    )


def _score(pairs: Sequence[_PairErrors], alpha: float) -> PckScore:
    return PckScore(
        alpha=alpha,
        per_point=float((np.concatenate([pair.carried for pair in pairs]) <= alpha).mean()),
        per_pair=float(np.mean([(pair.carried <= alpha).mean() for pair in pairs])),
        identity=float((np.concatenate([pair.identity for pair in pairs]) <= alpha).mean()),
    )


def _pair_errors(form: Form, annotated: Mapping[int, AnnotatedImage], source: int, target: int) -> _PairErrors:
    given, wanted = annotated[source], annotated[target]
    both = (given.keypoints[:, 2] > 0) & (wanted.keypoints[:, 2] > 0)
    points, truth = given.keypoints[both, :2], wanted.keypoints[both, :2]
    carried = form.transfer(points, source=source, target=target).points
    copied = _copy(points, form.images[source], form.images[target])
    return _PairErrors(
        np.nan_to_num(np.linalg.norm(carried - truth, axis=1), nan=np.inf) / wanted.side_px,
        np.linalg.norm(copied - truth, axis=1) / wanted.side_px,
        wanted.side_px,
    )


def _copy(points: npt.NDArray[np.float64], source: ImageSize, target: ImageSize) -> npt.NDArray[np.float64]:
    copied: npt.NDArray[np.float64] = points / source.extent * target.extent
    return copied
