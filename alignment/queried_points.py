"""Correspondences of single points: where each of the points that were asked for lies in another image."""

import numpy as np
import numpy.typing as npt

from alignment.sampling import FloatArray

_BLOCK = 1 << 20


def nearest_rows(asked: FloatArray, queried: FloatArray, *, reach: float) -> npt.NDArray[np.intp]:
    """Find for every asked point the queried point that is nearest to it.

    Args:
        asked: (Q, 2), pixels of the source; NaN is near to nothing.
        queried: (P, 5), the rows of a pair; see `alignment.pairwise.PairwiseMaps.points`.
        reach: how many pixels away it may lie; that far still counts.

    Returns:
        (Q,), rows of `queried`, the first of several that are equally near; -1 where none is within reach.
    """
    asked = np.asarray(asked, dtype=np.float64)
    found = np.full(len(asked), -1, dtype=np.intp)
    if len(queried) == 0:
        return found
    places = np.asarray(queried[:, :2], dtype=np.float64)
    step = max(1, _BLOCK // len(places))
    for start in range(0, len(asked), step):
        block = slice(start, start + step)
        squares = ((asked[block, None] - places) ** 2).sum(axis=2)
        squares = np.where(np.isfinite(squares), squares, np.inf)
        nearest = squares.argmin(axis=1)
        is_near = np.take_along_axis(squares, nearest[:, None], axis=1)[:, 0] <= reach**2
        found[block] = np.where(is_near, nearest, -1)
    return found
