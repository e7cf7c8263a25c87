"""Where a frame shows places of space: the inverse of a map from a frame into space."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from alignment.sampling import FloatArray

Float32 = npt.NDArray[np.float32]
Indices = npt.NDArray[np.intp]
MAX_CELLS = 1 << 16
_BLOCK = 1 << 15
_REFINEMENTS = 8
_STILL_CELLS = 0.01
_STARTS = 6
_DAMPING = 1e-6
_TINY = 1e-16
_FAR = 1e9


@dataclass(frozen=True)
class Nearest:
    """What was found for P places of space."""

    points: npt.NDArray[np.float64]
    """(P, 2) in the units of the frame's extent; NaN where nothing is near."""
    distance: npt.NDArray[np.float64]
    """(P,), how far in space from the place asked for the frame's own place at `points` lies; infinite where none."""


class NearestPlaces:
    """An index of a field of places: the nearest known cell, then Gauss-Newton on the bilinear patches around it.

    So what `alignment.sampling.sample` reads between four known cells is led back to where it was read. Of more than
    `MAX_CELLS` known cells every second, third, ... a side starts the search; refinement uses all.

    Args:
        field: (h, w, 3), places in space of h x w equal cells that cover a frame; NaN where there is none.
        extent: (2,), width and height of the frame.
    """

    def __init__(self, field: FloatArray, extent: npt.NDArray[np.float64]) -> None:
        # Slow to import, and no other form of result needs it.
        from scipy.spatial import cKDTree

        self._height, self._width = field.shape[:2]
        self._extent = extent
        values = np.ascontiguousarray(field, dtype=np.float32)
        self._values = values.reshape(-1, 3)
        known = np.isfinite(values.sum(axis=2))
        stride = max(1, int(np.ceil(np.sqrt(known.sum() / MAX_CELLS))))
        rows, columns = np.nonzero(known[::stride, ::stride])
        self._rows, self._columns = rows * stride, columns * stride
        self._reach_cells = np.float32(stride)
        self._inverses, spacing = _local_inverses(values, self._rows, self._columns)
        self._slack = 2 * stride * spacing
        # One point far from everything stands for none: a tree cannot be empty.
        points = self._values[self._rows * self._width + self._columns] if rows.size else np.full((1, 3), _FAR)
        self._tree = cKDTree(points)

    def find(self, places: FloatArray, *, within: float) -> Nearest:
        """Find where in the frame places (P, 3) are shown, those that are at most so far from what it shows.

        Farther ones may be found too, or not; `Nearest.distance` tells. NaN is nowhere.
        """
        points = np.full((len(places), 2), np.nan)
        distance = np.full(len(places), np.inf)
        for start in range(0, len(places), _BLOCK):
            block = slice(start, start + _BLOCK)
            asked = np.asarray(places[block], dtype=np.float32)
            at = np.flatnonzero(np.isfinite(asked).all(axis=1))
            cells = self._cells(asked[at], within, 1)[:, 0]
            at, cells = at[cells >= 0], cells[cells >= 0]
            found, square = self._searched(asked[at], cells, within)
            points[start + at] = (found.T + 0.5) / (self._width, self._height) * self._extent
            distance[start + at] = np.sqrt(square)
        return Nearest(points, distance)

    def _cells(self, asked: Float32, within: float, count: int) -> Indices:
        """Return the nearest known cells (Q, count) to places (Q, 3), nearest first; -1 where there are no more."""
        _, cells = self._tree.query(asked, k=[*range(1, count + 1)], distance_upper_bound=within + self._slack)
        return np.where(cells < len(self._rows), cells, -1)

    def _searched(self, asked: Float32, cells: Indices, within: float) -> tuple[Float32, Float32]:
        """Refine from the nearest cells (Q,), and where no way leads on from there, from others that are near."""
        best, square = self._refined(asked, cells)
        stuck = np.flatnonzero((best == (self._columns[cells], self._rows[cells])).all(axis=0) & (square > 0))
        others = self._cells(asked[stuck], within, _STARTS)[:, 1:]
        for cells in others.T:
            begun = stuck[cells >= 0]
            found, squares = self._refined(asked[begun], cells[cells >= 0])
            better = squares < square[begun]
            best[:, begun[better]], square[begun[better]] = found[:, better], squares[better]
        return best, square

    def _refined(self, asked: Float32, cells: Indices) -> tuple[Float32, Float32]:
        """Refine places (Q, 3) from their nearest cells (Q,): columns and rows (2, Q), squared distances (Q,)."""
        columns, rows = self._columns[cells], self._rows[cells]
        missed = asked - self._values.take(rows * self._width + columns, axis=0)
        best = np.stack([columns, rows]).astype(np.float32)
        square = np.einsum("qc,qc->q", missed, missed)
        step = np.einsum("qac,qc->aq", self._inverses[cells], missed).clip(-self._reach_cells, self._reach_cells)
        # At a rim one of the two ways may be open where both together lead off what is known.
        open_ways = self._try(asked, best, square, np.arange(len(asked)), best + step, step)
        for way in ((1, 0), (0, 1)):
            blocked = np.flatnonzero(~open_ways)
            if blocked.size:
                single = best[:, blocked] + step[:, blocked] * np.array(way, dtype=np.float32)[:, None]
                open_ways[blocked] = self._try(asked, best, square, blocked, single, step)
        for _ in range(_REFINEMENTS):
            going = np.flatnonzero(open_ways & (np.abs(step).max(axis=0) > _STILL_CELLS))
            if going.size == 0:
                break
            self._try(asked, best, square, going, best[:, going] + step[:, going], step)
        return best, square

    def _try(
        self, asked: Float32, best: Float32, square: Float32, at: Indices, places: Float32, step: Float32
    ) -> npt.NDArray[np.bool_]:
        """Take places (2, K) for the queries `at` (K,) where they are better; tell where all that is read is known.

        Writes to `best`, `square` and, for the next try, `step`.
        """
        limits = np.array([[self._width - 1], [self._height - 1]], dtype=np.float32)
        places = np.clip(places, 0, limits)
        column = np.minimum(places[0].astype(np.intp), max(self._width - 2, 0))
        row = np.minimum(places[1].astype(np.intp), max(self._height - 2, 0))
        across, down = (places[0] - column)[:, None], (places[1] - row)[:, None]
        right, below = min(1, self._width - 1), min(1, self._height - 1) * self._width
        corner = row * self._width + column
        first, second, third, fourth = (
            self._values.take(corner + offset, axis=0) for offset in (0, right, below, below + right)
        )
        along_top, along_bottom = second - first, fourth - third
        top, bottom = first + across * along_top, third + across * along_bottom
        missed = asked.take(at, axis=0) - (top + down * (bottom - top))
        squares = np.einsum("qc,qc->q", missed, missed)
        is_known: npt.NDArray[np.bool_] = np.isfinite(squares)
        better = squares < square[at]
        improved = at[better]
        best[:, improved], square[improved] = places[:, better], squares[better]
        turned = _steps(along_top + down * (along_bottom - along_top), bottom - top, missed).clip(-1, 1)
        step[:, at] = np.where(better, turned, np.where(is_known, step[:, at] / 2, step[:, at]))
        return is_known


def _steps(across: Float32, down: Float32, missed: Float32) -> Float32:
    """Steps (2, Q), in cells, that bring a plane with the tangents (Q, 3) nearest to what was missed (Q, 3)."""
    a, b, c = (np.einsum("qc,qc->q", *pair) for pair in ((across, across), (across, down), (down, down)))
    p, q = (np.einsum("qc,qc->q", tangent, missed) for tangent in (across, down))
    damping = _DAMPING * (a + c) + _TINY
    a, c = a + damping, c + damping
    with np.errstate(invalid="ignore"):
        step: Float32 = np.stack([c * p - b * q, a * q - b * p]) / np.maximum(a * c - b * b, _TINY)
    return step


def _local_inverses(values: Float32, rows: Indices, columns: Indices) -> tuple[Float32, float]:
    """Cells a unit of space (n, 2, 3) around the given cells, and the usual distance between neighbours."""
    across, down = (_tangents(values, rows, columns, axis) for axis in (1, 0))
    units = (np.broadcast_to(unit, across.shape) for unit in np.eye(3, dtype=np.float32))
    rates = np.stack([_steps(across, down, unit) for unit in units], axis=2)
    lengths = np.linalg.norm(np.concatenate([across, down]), axis=1)
    lengths = lengths[lengths > 0]
    return np.ascontiguousarray(np.moveaxis(rates, 1, 0)), float(np.median(lengths)) if lengths.size else 0.0


def _tangents(values: Float32, rows: Indices, columns: Indices, axis: int) -> Float32:
    """Differences (n, 3) from cell to cell along an axis, by the nearer of the two neighbours; 0 without any."""
    here = values[rows, columns]
    differences = []
    for side in (1, -1):
        moved = [rows, columns]
        moved[axis] = moved[axis] + side
        outside = (moved[axis] < 0) | (moved[axis] >= values.shape[axis])
        moved[axis] = np.clip(moved[axis], 0, values.shape[axis] - 1)
        differences.append(np.where(outside[:, None], np.nan, side * (values[moved[0], moved[1]] - here)))
    after, before = differences
    lengths = [np.nan_to_num(np.linalg.norm(each, axis=1), nan=np.inf) for each in differences]
    nearer: Float32 = np.where((lengths[0] <= lengths[1])[:, None], after, before)
    return np.nan_to_num(nearer)
