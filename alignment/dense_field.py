"""Fields that are read bilinearly at very many places."""

import numpy as np
import numpy.typing as npt

from alignment.sampling import FloatArray, sample, within

Float32 = npt.NDArray[np.float32]


class DenseField:
    """A field (h, w, C) over a frame of the given extent (2,), ready to be read; NaN where there is none.

    What is read comes in arrays (..., C) of which each channel lies together in memory, which is faster to compute.
    """

    def __init__(self, field: FloatArray, extent: npt.NDArray[np.float64]) -> None:
        self.values: Float32 = np.ascontiguousarray(field, dtype=np.float32)
        self._extent = extent
        self._height, self._width, self._channels = self.values.shape
        self._planes = np.ascontiguousarray(np.moveaxis(self.values, 2, 0))
        has_value = np.isfinite(self.values.sum(axis=2))
        self._is_whole = bool(has_value.all())
        self._near = any_of_four(has_value)

    def at_crossings(self, x: npt.NDArray[np.float64], y: npt.NDArray[np.float64]) -> Float32:
        """Read where columns at x (c,) and rows at y (r,) cross, in the units of the extent; returns (r, c, C)."""
        values = self.whole_at_crossings(x, y)
        if not self._is_whole:
            torn = np.isnan(values[..., 0]) & self.at_patches(self._near, x, y)
            at_row, at_column = np.nonzero(torn)
            values[torn] = sample(self.values, np.stack([x[at_column], y[at_row]], axis=1), self._extent)
        return values

    def whole_at_crossings(self, x: npt.NDArray[np.float64], y: npt.NDArray[np.float64]) -> Float32:
        """Read as `at_crossings` does, but only between four cells that have values; NaN elsewhere."""
        column, right, fraction_x = _neighbours(x, self._extent[0], self._width)
        row, below, fraction_y = _neighbours(y, self._extent[1], self._height)
        rows = _between(self._planes[:, row], self._planes[:, below], fraction_y[:, None])
        planes = _between(rows.take(column, axis=2), rows.take(right, axis=2), fraction_x)
        planes[:, :, (x < 0) | (x > self._extent[0])] = np.nan
        planes[:, (y < 0) | (y > self._extent[1])] = np.nan
        values: Float32 = np.moveaxis(planes, 0, 2)
        return values

    def at_patches(
        self, flags: npt.NDArray[np.bool_], x: npt.NDArray[np.float64], y: npt.NDArray[np.float64]
    ) -> npt.NDArray[np.bool_]:
        """Read flags (h, w) of patches, each named by its cell to the top left, at crossings as above; (r, c)."""
        column, _, _ = _neighbours(x, self._extent[0], self._width)
        row, _, _ = _neighbours(y, self._extent[1], self._height)
        return flags[row].take(column, axis=1)

    def at(self, points: FloatArray) -> Float32:
        """Read at points (P, 2), (x, y) in the units of the extent; returns (P, C)."""
        inside = within(points, self._extent)
        column, right, fraction_x = _neighbours(np.where(inside, points[:, 0], 0), self._extent[0], self._width)
        row, below, fraction_y = _neighbours(np.where(inside, points[:, 1], 0), self._extent[1], self._height)
        top, bottom = row * self._width, below * self._width
        planes = np.empty((self._channels, len(points)), dtype=np.float32)
        for channel, plane in enumerate(self._planes.reshape(self._channels, -1)):
            planes[channel] = _between(
                _between(plane.take(top + column), plane.take(top + right), fraction_x),
                _between(plane.take(bottom + column), plane.take(bottom + right), fraction_x),
                fraction_y,
            )
        planes[:, ~inside] = np.nan
        values: Float32 = planes.T
        if not self._is_whole:
            torn = np.isnan(planes[0]) & inside & self._near.ravel().take(top + column)
            values[torn] = sample(self.values, points[torn], self._extent)
        return values


def _neighbours(
    positions: FloatArray, extent: float, count: int
) -> tuple[npt.NDArray[np.intp], npt.NDArray[np.intp], Float32]:
    """Return the cells before and after each position (n,), and how far (n,) it lies between their centres."""
    place = positions * positions.dtype.type(count / extent) - positions.dtype.type(0.5)
    before = np.clip(np.floor(place), 0, max(count - 2, 0)).astype(np.intp)
    return before, np.minimum(before + 1, count - 1), (place - before).astype(np.float32)


def _between(before: Float32, after: Float32, fraction: Float32) -> Float32:
    blended: Float32 = before + fraction * (after - before)
    return blended


def any_of_four(has_value: npt.NDArray[np.bool_]) -> npt.NDArray[np.bool_]:
    """Tell for each cell whether it, or one of its neighbours to the right and below, has a value."""
    padded = np.pad(has_value, ((0, 1), (0, 1)))
    near: npt.NDArray[np.bool_] = padded[:-1, :-1] | padded[1:, :-1] | padded[:-1, 1:] | padded[1:, 1:]
    return near
