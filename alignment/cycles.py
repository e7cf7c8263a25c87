"""Scores of ways around: percentage of correct keypoints over k-cycles (k-cycle PCK).

Source: ASIC (Gupta et al., arXiv 2303.16201) and its official code. A map that moves nothing closes every cycle, so
these scores mean something only beside plain PCK.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise, permutations
from math import perm

import numpy as np
import numpy.typing as npt

from alignment.forms import Form
from alignment.scores import AnnotatedImage, has_map, was_asked

MAX_CYCLES = 1000


@dataclass(frozen=True)
class CycleScore:
    """Shares in [0, 1] at one alpha."""

    alpha: float
    returned: float
    """Of the keypoints that count in all images of a cycle: those that come back to where they began."""
    pooled: float
    """Of all stops on the way, the last one included: those at the keypoint's place in that image. A keypoint counts
    until the first image in which it is hidden, or for which the result was never asked where it lies."""


@dataclass(frozen=True)
class CycleReport:
    """k-cycle PCK over `cycles` cycles and the `points` keypoints that went all the way, or would have."""

    length: int
    cycles: int
    points: int
    scores: tuple[CycleScore, ...]


@dataclass(frozen=True)
class Stops:
    """Where K keypoints of T cycles are after each of k hops: arrays (T, k, K)."""

    errors: npt.NDArray[np.float64]
    """As shares of the image's side; infinite where the keypoint was lost on the way."""
    counted: npt.NDArray[np.bool_]
    """Whether the keypoint is visible in all images so far, and was looked for in each from where it was before."""


def cycle_pck(form: Form, annotated: Mapping[int, AnnotatedImage], alphas: Sequence[float], length: int) -> CycleReport:
    """Carry keypoints around cycles of `length` different images, each hop beginning where the last one ended.

    All cycles, or `MAX_CYCLES` drawn ones (the same every time) where there are more. A place is right within alpha x
    side (inclusive) of the truth. Cycles with a hop of which the result holds neither a map nor points are left out; a
    keypoint no longer counts once it comes to a place that the result was never asked for. Where no keypoint goes
    around, all shares are 0.
    """
    cycles = drawn_cycles(sorted(annotated), length)
    cycles = cycles[[all(has_map(form, i, j) for i, j in pairwise(cycle)) for cycle in cycles.tolist()]]
    stops = walked(form, annotated, cycles)
    last = stops.errors[:, -1][stops.counted[:, -1]]
    pooled = stops.errors[stops.counted]
    scores = tuple(CycleScore(alpha, _share(last <= alpha), _share(pooled <= alpha)) for alpha in alphas)
    return CycleReport(length, len(cycles), last.size, scores)


def drawn_cycles(images: Sequence[int], length: int) -> npt.NDArray[np.intp]:
    """Cycles (T, length + 1) of different images, each ending where it began; none if there are too few images."""
    count = len(images)
    if perm(count, length) <= MAX_CYCLES:
        chosen = list(permutations(range(count), length))
    else:
        draw = np.random.default_rng(0)
        drawn: dict[tuple[int, ...], None] = {}
        while len(drawn) < MAX_CYCLES:
            drawn[tuple(draw.permutation(count)[:length].tolist())] = None
        chosen = list(drawn)
    ways = np.array(chosen, dtype=np.intp).reshape(-1, length)
    closed: npt.NDArray[np.intp] = np.asarray(images, dtype=np.intp)[np.concatenate([ways, ways[:, :1]], axis=1)]
    return closed


def walked(form: Form, annotated: Mapping[int, AnnotatedImage], cycles: npt.NDArray[np.intp]) -> Stops:
    """Carry the annotated keypoints along cycles (T, k + 1)."""
    keypoints = np.zeros((max(annotated) + 1, *next(iter(annotated.values())).keypoints.shape))
    sides = np.ones(len(keypoints))
    for index, image in annotated.items():
        keypoints[index], sides[index] = image.keypoints, image.side_px
    visible = keypoints[cycles][:, 1:, :, 2] > 0
    is_counted = keypoints[cycles[:, 0], :, 2] > 0
    points, errors, counted = keypoints[cycles[:, 0], :, :2], [], []
    for hop, (before, after) in enumerate(pairwise(cycles.T)):
        points, asked = _hop(form, points, before, after)
        missed = np.linalg.norm(points - keypoints[after, :, :2], axis=2) / sides[after, None]
        errors.append(np.nan_to_num(missed, nan=np.inf))
        is_counted = is_counted & visible[:, hop] & asked
        counted.append(is_counted)
    return Stops(np.stack(errors, axis=1), np.stack(counted, axis=1))


def _hop(
    form: Form, points: npt.NDArray[np.float64], before: npt.NDArray[np.intp], after: npt.NDArray[np.intp]
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.bool_]]:
    """Carry points (T, K, 2) from images `before` (T,) to `after` (T,), all of one pair of images at once.

    Also tells (T, K) for which of them the result was asked; those that were lost before count as asked.
    """
    carried, asked = np.full_like(points, np.nan), np.ones(points.shape[:2], dtype=np.bool_)
    for source, target in np.unique(np.stack([before, after], axis=1), axis=0).tolist():
        here = ((before == source) & (after == target))[:, None] & np.isfinite(points).all(axis=2)
        carried[here] = form.transfer(points[here], source=source, target=target).points
        asked[here] = was_asked(form, points[here], source=source, target=target)
    return carried, asked


def _share(right: npt.NDArray[np.bool_]) -> float:
    return float(right.mean()) if right.size else 0.0
