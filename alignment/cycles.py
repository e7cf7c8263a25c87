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
from alignment.scores import AnnotatedImage, has_map

MAX_CYCLES = 1000


@dataclass(frozen=True)
class CycleScore:
    """Shares in [0, 1] at one alpha."""

    alpha: float
    returned: float
    """Of the keypoints that are visible in all images of a cycle: those that come back to where they began."""
    pooled: float
    """Of all stops on the way, the last one included: those at the keypoint's place in that image. A keypoint counts
    until the first image in which it is hidden."""


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
    visible: npt.NDArray[np.bool_]
    """Whether the keypoint is visible in all images so far."""


def cycle_pck(form: Form, annotated: Mapping[int, AnnotatedImage], alphas: Sequence[float], length: int) -> CycleReport:
    """Carry keypoints around cycles of `length` different images, each hop beginning where the last one ended.

    All cycles, or `MAX_CYCLES` drawn ones (the same every time) where there are more. A place is right within alpha x
    side (inclusive) of the truth. Cycles with a hop of which the result holds no map are left out. Where no keypoint
    goes around, all shares are 0.
    """
    cycles = drawn_cycles(sorted(annotated), length)
    cycles = cycles[[all(has_map(form, i, j) for i, j in pairwise(cycle)) for cycle in cycles.tolist()]]
    stops = walked(form, annotated, cycles)
    last = stops.errors[:, -1][stops.visible[:, -1]]
    pooled = stops.errors[stops.visible]
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
    visible = np.logical_and.accumulate(keypoints[cycles][..., 2] > 0, axis=1)[:, 1:]
    points, errors = keypoints[cycles[:, 0], :, :2], []
    for before, after in pairwise(cycles.T):
        points = _hop(form, points, before, after)
        missed = np.linalg.norm(points - keypoints[after, :, :2], axis=2) / sides[after, None]
        errors.append(np.nan_to_num(missed, nan=np.inf))
    return Stops(np.stack(errors, axis=1), visible)


def _hop(
    form: Form, points: npt.NDArray[np.float64], before: npt.NDArray[np.intp], after: npt.NDArray[np.intp]
) -> npt.NDArray[np.float64]:
    """Carry points (T, K, 2) from images `before` (T,) to `after` (T,), all of one pair of images at once."""
    carried = np.full_like(points, np.nan)
    for source, target in np.unique(np.stack([before, after], axis=1), axis=0):
        asked = ((before == source) & (after == target))[:, None] & np.isfinite(points).all(axis=2)
        carried[asked] = form.transfer(points[asked], source=int(source), target=int(target)).points
    return carried


def _share(right: npt.NDArray[np.bool_]) -> float:
    return float(right.mean()) if right.size else 0.0
