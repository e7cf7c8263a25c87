"""Scores against known keypoints: percentage of correct keypoints (PCK)."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import permutations

import numpy as np
import numpy.typing as npt

from alignment.forms import Form
from alignment.pairwise import PairwiseMaps
from alignment.sampling import ImageSize


@dataclass(frozen=True)
class AnnotatedImage:
    """Known keypoints of one image."""

    keypoints: npt.NDArray[np.float64]
    """(K, 3): x, y in pixels and visibility 0 or 1."""
    side_px: float
    """Length that alpha is a share of: the longer side of the object's box, or of the image."""

    @property
    def visible(self) -> npt.NDArray[np.bool_]:
        """(K,), which keypoints can be seen."""
        seen: npt.NDArray[np.bool_] = self.keypoints[:, 2] > 0
        return seen


@dataclass(frozen=True)
class PckScore:
    """Shares in [0, 1] at one alpha."""

    alpha: float
    per_point: float
    per_pair: float
    identity: float


@dataclass(frozen=True)
class PckReport:
    """PCK over the ordered pairs of annotated images of which the result knows something."""

    pairs: int
    points: int
    missing: int
    median_error_px: float | None
    scores: tuple[PckScore, ...]


@dataclass(frozen=True)
class SideScore:
    """Shares in [0, 1] at one alpha of the keypoints that have a mirror partner in the target."""

    alpha: float
    mirrored: float
    """Land on the place of their partner: the left one on the right one."""
    own: float
    """Land on their own place. A point may do both where the two are close."""


@dataclass(frozen=True)
class CarriedPair:
    """The P keypoints that count for one ordered pair, and where the result carried them; see `carried_pairs`."""

    source: int
    target: int
    keypoints: npt.NDArray[np.intp]
    """(P,), which of the K keypoints."""
    places: npt.NDArray[np.float64]
    """(P, 2), pixels of the target; NaN where a point was lost."""
    errors: npt.NDArray[np.float64]
    """(P,), distances from the truth as shares of the target's side; infinite where a point was lost."""
    identity: npt.NDArray[np.float64]
    """(P,), the same for points copied to the same relative place."""
    side_px: float


def pck(form: Form, annotated: Mapping[int, AnnotatedImage], alphas: Sequence[float]) -> PckReport:
    """Carry every keypoint visible in both images of a pair; count those within alpha x side (inclusive) of the truth.

    Points that the result cannot carry count as wrong. What it was never asked for is left out: pairs of which it has
    neither a map nor points, and where it has points only, keypoints that are near to none of them. The identity
    baseline copies a keypoint to the same relative place. Where no keypoint counts, `points` is 0 and all shares are 0.
    """
    return pck_of(carried_pairs(form, annotated), alphas)


def carried_pairs(form: Form, annotated: Mapping[int, AnnotatedImage]) -> list[CarriedPair]:
    """Carry the keypoints visible in both images over all ordered pairs of which the result knows something.

    Of a pair without a map only those count that the result was asked for, found or not; pairs with none are left out.
    """
    mapped = (pair for pair in permutations(sorted(annotated), 2) if has_map(form, *pair))
    pairs = [_carry(form, annotated, source, target) for source, target in mapped]
    return [pair for pair in pairs if pair.errors.size]


def has_map(form: Form, source: int, target: int) -> bool:
    """Tell whether a result can carry anything from one image to the other; only pairwise maps may lack a pair."""
    return not isinstance(form, PairwiseMaps) or form.has(source, target)


def was_asked(form: Form, points: npt.NDArray[np.float64], *, source: int, target: int) -> npt.NDArray[np.bool_]:
    """Tell for which points (P, 2) of an image the result tried to find a place in another; see `PairwiseMaps`."""
    if isinstance(form, PairwiseMaps):
        return form.was_asked(points, source=source, target=target)
    return np.ones(len(points), dtype=np.bool_)


def pck_of(pairs: Sequence[CarriedPair], alphas: Sequence[float]) -> PckReport:
    """Count the points that landed within alpha x side (inclusive) of the truth; see `pck`."""
    if not pairs:
        return PckReport(0, 0, 0, None, tuple(PckScore(alpha, 0.0, 0.0, 0.0) for alpha in alphas))
    carried = np.concatenate([pair.errors for pair in pairs])
    pixels = np.concatenate([pair.errors * pair.side_px for pair in pairs])
    median = float(np.median(pixels))
    return PckReport(
        pairs=len(pairs),
        points=carried.size,
        missing=int(np.isinf(carried).sum()),
        median_error_px=median if np.isfinite(median) else None,
        scores=tuple(_score(pairs, alpha) for alpha in alphas),
    )


def side_scores(
    pairs: Sequence[CarriedPair],
    annotated: Mapping[int, AnnotatedImage],
    permutation: Sequence[int],
    alphas: Sequence[float],
) -> tuple[SideScore, ...]:
    """Score as if left and right were exchanged: high figures tell of a result that confuses the sides.

    Args:
        pairs: of `carried_pairs`.
        annotated: what these were made from.
        permutation: (K,), what each keypoint becomes in a mirror image; those that stay what they are do not count.
        alphas: shares of the target's side, inclusive.

    Returns:
        One per alpha, over all carried points whose partner is visible in the target; none where there is no such.
    """
    becomes = np.asarray(permutation, dtype=np.intp)
    measured = [_side_errors(pair, annotated[pair.target], becomes) for pair in pairs]
    mirrored, own = np.concatenate([np.empty((2, 0)), *measured], axis=1)
    if not own.size:
        return ()
    return tuple(SideScore(alpha, _share(mirrored <= alpha), _share(own <= alpha)) for alpha in alphas)


def _side_errors(
    pair: CarriedPair, wanted: AnnotatedImage, permutation: npt.NDArray[np.intp]
) -> npt.NDArray[np.float64]:
    """Return distances (2, Q) from the partner's place and from the own one."""
    partners = permutation[pair.keypoints]
    asked = (partners != pair.keypoints) & wanted.visible[partners]
    mirrored = _errors(pair.places[asked], wanted.keypoints[partners[asked], :2], pair.side_px)
    return np.stack([mirrored, pair.errors[asked]])


def _score(pairs: Sequence[CarriedPair], alpha: float) -> PckScore:
    return PckScore(
        alpha=alpha,
        per_point=_share(np.concatenate([pair.errors for pair in pairs]) <= alpha),
        per_pair=float(np.mean([(pair.errors <= alpha).mean() for pair in pairs])),
        identity=_share(np.concatenate([pair.identity for pair in pairs]) <= alpha),
    )


def _carry(form: Form, annotated: Mapping[int, AnnotatedImage], source: int, target: int) -> CarriedPair:
    given, wanted = annotated[source], annotated[target]
    keypoints = np.flatnonzero(given.visible & wanted.visible)
    keypoints = keypoints[was_asked(form, given.keypoints[keypoints, :2], source=source, target=target)]
    points, truth = given.keypoints[keypoints, :2], wanted.keypoints[keypoints, :2]
    places = form.transfer(points, source=source, target=target).points
    copied = _copy(points, form.images[source], form.images[target])
    errors, identity = (_errors(found, truth, wanted.side_px) for found in (places, copied))
    return CarriedPair(source, target, keypoints, places, errors, identity, wanted.side_px)


def _errors(places: npt.NDArray[np.float64], truth: npt.NDArray[np.float64], side_px: float) -> npt.NDArray[np.float64]:
    errors: npt.NDArray[np.float64] = np.nan_to_num(np.linalg.norm(places - truth, axis=1), nan=np.inf) / side_px
    return errors


def _copy(points: npt.NDArray[np.float64], source: ImageSize, target: ImageSize) -> npt.NDArray[np.float64]:
    copied: npt.NDArray[np.float64] = points / source.extent * target.extent
    return copied


def _share(right: npt.NDArray[np.bool_]) -> float:
    return float(right.mean())
