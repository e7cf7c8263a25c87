"""ASIC's maps on the analytic set S8, from given matches, some of them wrong; scored in whole pixels."""

from __future__ import annotations

import statistics
import time
from dataclasses import dataclass
from itertools import permutations

import numpy as np
import numpy.typing as npt
import torch
from scipy.spatial import cKDTree
from torch import Tensor

from alignment.cycles import cycle_pck
from alignment.pairwise import PairwiseMaps
from alignment.sampling import ImageSize
from alignment.scores import AnnotatedImage, pck
from benchmarks.asic.scoring import percent
from workers.evaluation.analytic_matches import paired_points
from workers.evaluation.analytic_set import AnalyticSet, analytic_set
from workers.geometry.flows import dense_flow
from workers.methods.asic.alignment import fit_matches
from workers.methods.asic.network.transfer import to_canonical

SIZE_PX = 64
ALPHAS = (0.1, 0.05, 0.02)
OUTLIERS = (0.2, 0.4, 0.6, 0.8)
REPEATS = 3
KEPT = 0.25
"""Trust that is reached where both ends of a match come within 0.1 of each other in the canonical plane."""

_RIVALS = 4
_TIE = 1e-6

Scores = list[float]
"""PCK in percent at each of `ALPHAS`."""


@dataclass(frozen=True)
class S8Row:
    """Maps of S8: PCK over all ordered pairs, and at the return of all 2- and 3-cycles."""

    maps: str
    pairs: Scores
    two_cycles: Scores
    three_cycles: Scores
    cpu_s: float | None = None
    kept: float | None = None
    """Percent of the matches that the maps agree with."""
    inliers: float | None = None
    """Percent of the matches that are not replaced."""


def spline_rows() -> list[S8Row]:
    """Our default at all shares of outliers."""
    drawn = analytic_set(SIZE_PX)
    return [splines(drawn, outliers) for outliers in OUTLIERS]


def splines(drawn: AnalyticSet, outliers: float, repeats: int = REPEATS) -> S8Row:
    """Fit the default's splines; CPU seconds are the median over the repeats."""
    matches, seconds = paired_points(drawn, outliers), []
    for _ in range(repeats):
        began = time.process_time()
        found = fit_matches(matches, len(drawn.masks))
        seconds.append(time.process_time() - began)
    given = matches.weights > 0
    true = np.concatenate([pair.true for pair in drawn.matches(outliers).values()])
    return scored(
        drawn,
        f"splines, {outliers:.0%} outliers",
        whole_pixels(drawn, dense_flow(found.controls, SIZE_PX)),
        cpu_s=round(statistics.median(seconds), 2),
        kept=percent(float((found.trust[given] >= KEPT).double().mean())),
        inliers=percent(float(true.mean())),
    )


def whole_pixels(drawn: AnalyticSet, flows: Tensor, *, official: bool = False) -> PairwiseMaps:
    """Maps of the objects' pixels to the objects' pixels that are nearest in the canonical plane.

    The first pixel, row by row, wins a tie, as in the official code.

    Args:
        drawn: the set.
        flows: (N, S, S, 2), where each pixel lies in the canonical plane.
        official: read flows as the official code does, up to half a pixel off.
    """
    pixels = [np.argwhere(mask)[:, ::-1] for mask in drawn.masks]
    asked = [torch.from_numpy(own.copy()).to(flows)[None] for own in pixels]
    shown = [flow[mask].numpy() for flow, mask in zip(flows, drawn.masks, strict=True)]
    read = [to_canonical(flow[None], own)[0].numpy() for flow, own in zip(flows, asked, strict=True)]
    trees, starts, maps = [cKDTree(places) for places in shown], read if official else shown, {}
    for i, j in permutations(range(len(flows)), 2):
        distances, near = trees[j].query(starts[i], k=_RIVALS)
        nearest = np.where(distances < distances[:, :1] + _TIE, near, len(pixels[j])).min(axis=1)
        maps[i, j] = np.full((drawn.size, drawn.size, 2), np.nan, dtype=np.float32)
        maps[i, j][drawn.masks[i]] = _centres(pixels[j][nearest])
    sizes = (ImageSize(drawn.size, drawn.size),) * len(flows)
    return PairwiseMaps(sizes, maps, {pair: np.ones((drawn.size, drawn.size)) for pair in maps})


def annotated_set(drawn: AnalyticSet) -> dict[int, AnnotatedImage]:
    """The set's keypoints, all visible; thresholds are shares of the picture's side."""
    seen = np.ones((drawn.keypoints.shape[1], 1))
    return {
        index: AnnotatedImage(np.concatenate([_centres(points), seen], axis=1), float(drawn.size))
        for index, points in enumerate(drawn.keypoints)
    }


def scored(
    drawn: AnalyticSet,
    name: str,
    form: PairwiseMaps,
    *,
    cpu_s: float | None = None,
    kept: float | None = None,
    inliers: float | None = None,
) -> S8Row:
    """Score maps of the set."""
    annotated = annotated_set(drawn)
    two, three = (
        [percent(score.returned) for score in cycle_pck(form, annotated, ALPHAS, length).scores] for length in (2, 3)
    )
    pairs = [percent(score.per_point) for score in pck(form, annotated, ALPHAS).scores]
    return S8Row(name, pairs, two, three, cpu_s, kept, inliers)


def _centres(pixels: npt.NDArray[np.int64]) -> npt.NDArray[np.float64]:
    return pixels.astype(np.float64) + 0.5
