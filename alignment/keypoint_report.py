"""Score predicted keypoints: all of them, those that only their place tells apart, and by the change of viewpoint.

Source: the evaluation of Telling Left from Right (arXiv 2311.17034). What its code and page leave open is said where it
is decided.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
from pydantic import JsonValue

from alignment.azimuth import AZIMUTH_GAPS

_DIGITS = 5


@dataclass(frozen=True)
class ScoredPair:
    """The P keypoints visible in both images of a pair, and how far from the truth they were predicted.

    Raises:
        ValueError: the two arrays do not fit each other, or there is no such azimuth gap.
    """

    errors: npt.NDArray[np.float64]
    """(P,), distances as shares of the target's side; infinite where nothing was predicted."""
    geometry_aware: npt.NDArray[np.bool_]
    """(P,), see `alignment.geometry_aware`."""
    category: str = ""
    azimuth_gap: int | None = None
    """0 to 4 eighths of a turn between the two views; None where it is not known."""

    def __post_init__(self) -> None:
        if self.errors.ndim != 1 or self.errors.shape != self.geometry_aware.shape:
            raise ValueError(
                f"errors {self.errors.shape} and geometry_aware {self.geometry_aware.shape} must both be (P,), "
                "one entry per keypoint visible in both images"
            )
        if self.azimuth_gap is not None and not 0 <= self.azimuth_gap < AZIMUTH_GAPS:
            raise ValueError(
                f"azimuth_gap is {self.azimuth_gap}; it must be 0 to {AZIMUTH_GAPS - 1}, as azimuth_gap() returns it"
            )


@dataclass(frozen=True)
class AlphaScore:
    """Shares in [0, 1] of right points at one alpha; None where there are no points."""

    alpha: float
    per_point: float | None
    """Over all points of all pairs."""
    per_image: float | None
    """Mean over the pairs that have a point."""

    def as_json(self) -> dict[str, JsonValue]:
        """Return plain numbers, rounded."""
        return {"alpha": self.alpha, "per_point": _rounded(self.per_point), "per_image": _rounded(self.per_image)}


@dataclass(frozen=True)
class PointScores:
    """PCK over a choice of points; `pairs` are those that have one."""

    pairs: int
    points: int
    scores: tuple[AlphaScore, ...]

    def as_json(self) -> dict[str, JsonValue]:
        """Return plain numbers, rounded."""
        return {"pairs": self.pairs, "points": self.points, "pck": [score.as_json() for score in self.scores]}


@dataclass(frozen=True)
class AzimuthBin:
    """PCK over all points of the pairs whose views lie `gap` eighths of a turn apart."""

    gap: int
    pairs: int
    points: int
    per_point: tuple[float | None, ...]
    """Per alpha, in [0, 1]; None where there are no points."""

    def as_json(self) -> dict[str, JsonValue]:
        """Return plain numbers, rounded."""
        shares: list[JsonValue] = [_rounded(share) for share in self.per_point]
        return {"gap": self.gap, "pairs": self.pairs, "points": self.points, "per_point": shares}


@dataclass(frozen=True)
class AzimuthScores:
    """How much it matters that the object is seen from elsewhere."""

    bins: tuple[AzimuthBin, ...]
    """One per gap, 0 to 4."""
    sensitivity: tuple[float | None, ...]
    """Per alpha (best - worst) / best over the bins that have points, in [0, 1]: the share of the best bin's score that
    is lost in the worst. None where fewer than two bins have points, or nothing is right in any. The paper does not say
    what it divides by; the best bin is our choice, as it makes methods of unlike strength comparable."""

    def as_json(self) -> dict[str, JsonValue]:
        """Return plain numbers, rounded."""
        sensitivity: list[JsonValue] = [_rounded(value) for value in self.sensitivity]
        return {"bins": [each.as_json() for each in self.bins], "sensitivity": sensitivity}


@dataclass(frozen=True)
class CategoryReport:
    """Scores of one kind of object."""

    standard: PointScores
    geometry_aware: PointScores
    azimuth: AzimuthScores | None
    """None where no pair has an azimuth gap."""

    def as_json(self) -> dict[str, JsonValue]:
        """Return plain numbers, rounded to 5 digits; null where there is none."""
        return {
            "standard": self.standard.as_json(),
            "geometry_aware": self.geometry_aware.as_json(),
            "azimuth": self.azimuth.as_json() if self.azimuth else None,
        }


@dataclass(frozen=True)
class KeypointReport(CategoryReport):
    """Scores of all pairs, and of each category."""

    categories: Mapping[str, CategoryReport] = field(default_factory=dict)
    """By name, sorted; pairs without one are in none."""

    def as_json(self) -> dict[str, JsonValue]:
        """Return plain numbers, rounded to 5 digits; null where there is none."""
        return {**super().as_json(), "categories": {name: each.as_json() for name, each in self.categories.items()}}


def keypoint_report(pairs: Sequence[ScoredPair], alphas: Sequence[float], *, inclusive: bool = False) -> KeypointReport:
    """Score predictions.

    Args:
        pairs: of images; those without points count nowhere.
        alphas: shares of the target's side. A point is right if its error is below alpha.
        inclusive: count a point that lies exactly at alpha as right, too; the published code does not.
    """
    counted = _Counting(alphas, inclusive=inclusive)
    names = sorted({pair.category for pair in pairs if pair.category})
    categories = {name: counted.report([pair for pair in pairs if pair.category == name]) for name in names}
    return KeypointReport(**vars(counted.report(pairs)), categories=categories)


class _Counting:
    """Counts right points at given alphas."""

    def __init__(self, alphas: Sequence[float], *, inclusive: bool) -> None:
        self._alphas = alphas
        self._right = np.less_equal if inclusive else np.less

    def report(self, pairs: Sequence[ScoredPair]) -> CategoryReport:
        aware = self._points([pair.errors[pair.geometry_aware] for pair in pairs])
        return CategoryReport(self._points([pair.errors for pair in pairs]), aware, self._azimuth(pairs))

    def _points(self, of_pairs: Sequence[npt.NDArray[np.float64]]) -> PointScores:
        """Score errors (P,) of each pair."""
        present = [errors for errors in of_pairs if errors.size]
        pooled = np.concatenate([np.empty(0), *present])
        scores = tuple(
            AlphaScore(
                alpha,
                per_point=_mean(self._right(pooled, alpha)),
                per_image=_mean([self._right(errors, alpha).mean() for errors in present]),
            )
            for alpha in self._alphas
        )
        return PointScores(len(present), pooled.size, scores)

    def _azimuth(self, pairs: Sequence[ScoredPair]) -> AzimuthScores | None:
        if all(pair.azimuth_gap is None for pair in pairs):
            return None
        bins = tuple(self._bin(gap, pairs) for gap in range(AZIMUTH_GAPS))
        shares = zip(*(each.per_point for each in bins if each.points), strict=True)
        sensitivity = tuple(_sensitivity([share for share in row if share is not None]) for row in shares)
        return AzimuthScores(bins, sensitivity or (None,) * len(self._alphas))

    def _bin(self, gap: int, pairs: Sequence[ScoredPair]) -> AzimuthBin:
        found = self._points([pair.errors for pair in pairs if pair.azimuth_gap == gap])
        return AzimuthBin(gap, found.pairs, found.points, tuple(score.per_point for score in found.scores))


def _sensitivity(shares: Sequence[float]) -> float | None:
    """Return how much of the best of several shares is lost in the worst; None for fewer than two."""
    best = max(shares)
    return (best - min(shares)) / best if len(shares) > 1 and best > 0 else None


def _mean(values: npt.NDArray[np.bool_] | Sequence[float]) -> float | None:
    return float(np.mean(values)) if len(values) else None


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, _DIGITS)
