"""Points that were asked for in one image, and where they were found, on pictures of the set."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from alignment.pairwise import PairwiseMaps
from alignment.queried_points import nearest_rows
from workers.rendering.points import MOST_NUMBERED, grid_colours, point_colours, points_picture

Rgb = npt.NDArray[np.uint8]
Float32 = npt.NDArray[np.float32]

_SAME_PX = 0.01


@dataclass(frozen=True)
class AskedPoints:
    """Queried points of one image.

    Attributes:
        source: that image.
        points: (P, 2), pixels of it.
        found: by other image (P, 3): x and y in its pixels, NaN where not found or not looked for, and confidence.
        colours: (P, 3); up to 40 points each have their own, more have them by place.
    """

    source: int
    points: Float32
    found: Mapping[int, Float32]
    colours: Rgb

    def drawn_on(self, rgb: Rgb, index: int, side: int) -> Rgb:
        """Draw them on the picture of an image of the set, numbered from 1; see `points_picture`."""
        nowhere = np.full((len(self.points), 3), np.nan, dtype=np.float32)
        asked = np.column_stack([self.points, np.ones(len(self.points), dtype=np.float32)])
        places = asked if index == self.source else self.found.get(index, nowhere)
        numbers = range(1, len(self.points) + 1)
        return points_picture(rgb, places[:, :2], places[:, 2], numbers=numbers, colours=self.colours, side=side)


def asked_points(form: PairwiseMaps) -> AskedPoints:
    """Return the points of the first image that was asked for any; ways back from where others were found are none.

    Where that cannot be told, since all ways back end where they began, it is the image that most points start from.

    Raises:
        ValueError: there are no points.
    """
    origins = {pair: _origins(form, *pair) for pair in form.points}
    counts: Counter[int] = Counter()
    for (start, _), origin in origins.items():
        counts[start] += len(origin)
    if not counts.total():
        raise ValueError("the result has no queried points to draw; draw its maps")
    sure = [start for (start, _), origin in origins.items() if (origin < 0).any()]
    source = min(sure) if sure else max(sorted(counts), key=lambda index: counts[index])
    rows = {
        target: form.points[start, target][~_leads_back(form, start, target, origin)]
        for (start, target), origin in origins.items()
        if start == source
    }
    return _gathered(form, source, rows)


def _origins(form: PairwiseMaps, source: int, target: int) -> npt.NDArray[np.intp]:
    """Tell for each row of a pair which row of the reverse pair ends where it begins; -1 for none."""
    rows = form.points[source, target]
    reverse = form.points.get((target, source), np.zeros((0, 5), dtype=np.float32))
    return nearest_rows(rows[:, :2], reverse[:, 2:], reach=_SAME_PX)


def _leads_back(form: PairwiseMaps, source: int, target: int, origins: npt.NDArray[np.intp]) -> npt.NDArray[np.bool_]:
    """Tell which rows are only the way back of others; where a way ends where it began, neither is."""
    rows = form.points[source, target]
    back: npt.NDArray[np.bool_] = origins >= 0
    if back.any():
        begun = form.points[target, source][origins[back], :2]
        back[back] = ~(np.linalg.norm(rows[back, 2:4] - begun, axis=1) <= _SAME_PX)
    return back


def _gathered(form: PairwiseMaps, source: int, rows: Mapping[int, Float32]) -> AskedPoints:
    """Tell apart the points of all targets, in the order in which they are first met."""
    starts = np.concatenate([each[:, :2] for each in rows.values()])
    unique, first, inverse = np.unique(starts, axis=0, return_index=True, return_inverse=True)
    order = np.argsort(first)
    number = np.argsort(order)[inverse.reshape(-1)]
    points = unique[order]
    found = {}
    begin = 0
    for target, each in rows.items():
        places = np.full((len(points), 3), np.nan, dtype=np.float32)
        places[number[begin : begin + len(each)]] = each[:, 2:]
        begin += len(each)
        found[target] = places
    size = form.images[source]
    many = len(points) > MOST_NUMBERED
    colours = grid_colours(points, (size.width, size.height)) if many else point_colours(len(points))
    return AskedPoints(source, points, found, colours)
