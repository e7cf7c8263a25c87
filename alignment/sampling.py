"""Read dense maps at continuous places."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.floating]
_MIN_WEIGHT = 0.5


@dataclass(frozen=True)
class ImageSize:
    """Width and height of an uploaded image in pixels."""

    width: int
    height: int

    @property
    def extent(self) -> npt.NDArray[np.float64]:
        """(width, height) as an array (2,)."""
        return np.array([self.width, self.height], dtype=np.float64)


def known(points: FloatArray) -> npt.NDArray[np.bool_]:
    """Tell which points (..., 2) are finite."""
    return np.isfinite(points[..., 0]) & np.isfinite(points[..., 1])


def within(points: FloatArray, extent: FloatArray) -> npt.NDArray[np.bool_]:
    """Tell which points (..., 2) lie in the frame of the given extent (2,), its border included; NaN does not."""
    x, y = points[..., 0], points[..., 1]
    with np.errstate(invalid="ignore"):
        inside: npt.NDArray[np.bool_] = (x >= 0) & (x <= extent[0]) & (y >= 0) & (y <= extent[1])
    return inside


def cell_centres(height: int, width: int, extent: FloatArray) -> npt.NDArray[np.float64]:
    """Return the centres (height, width, 2) of equal cells that cover a frame of the given extent (2,), as (x, y)."""
    x = (np.arange(width) + 0.5) / width * extent[0]
    y = (np.arange(height) + 0.5) / height * extent[1]
    return np.stack(np.meshgrid(x, y), axis=-1)


def sample(field: FloatArray, points: FloatArray, extent: FloatArray) -> npt.NDArray[np.float64]:
    """Read a field bilinearly.

    Args:
        field: (h, w, C); covers its frame with h x w equal cells, values at their centres, NaN where there is none.
        points: (P, 2), (x, y) in the units of `extent`.
        extent: (2,), width and height of the frame.

    Returns:
        (P, C). Within half a cell of the frame's border values are extrapolated linearly. Where some of the four
        neighbours are NaN the others speak for them if they hold at least half of the weight; else, and outside the
        frame, NaN.
    """
    height, width = field.shape[:2]
    points = np.asarray(points, dtype=np.float64)
    inside = within(points, extent)
    place = np.where(inside[:, None], points, 0.0) / extent * (width, height) - 0.5
    corner = np.clip(np.floor(place), 0, np.maximum((width - 2, height - 2), 0)).astype(np.intp)
    fraction = place - corner
    columns = np.minimum(corner[:, :1] + (0, 1, 0, 1), width - 1)
    rows = np.minimum(corner[:, 1:] + (0, 0, 1, 1), height - 1)
    values = field[rows, columns].astype(np.float64)
    result = _blend(values, fraction)
    result[~inside] = np.nan
    return result


def _blend(values: npt.NDArray[np.float64], fraction: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Blend four neighbours (P, 4, C) by the place (P, 2) between them."""
    whole: npt.NDArray[np.bool_] = np.isfinite(values.sum(axis=2))
    weights = _bilinear_weights(fraction)
    within = _bilinear_weights(np.clip(fraction, 0, 1)) * whole
    total = within.sum(axis=1, keepdims=True)
    partial = np.where(total >= _MIN_WEIGHT, within / np.maximum(total, _MIN_WEIGHT), np.nan)
    weights = np.where(whole.sum(axis=1, keepdims=True) == 4, weights, partial)
    blended: npt.NDArray[np.float64] = np.einsum("pn,pnc->pc", weights, np.where(whole[..., None], values, 0.0))
    return blended


def _bilinear_weights(fraction: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Return weights (P, 4) of the neighbours in the order (0,0), (1,0), (0,1), (1,1) of (x, y)."""
    x, y = fraction[:, 0], fraction[:, 1]
    return np.stack([(1 - x) * (1 - y), x * (1 - y), (1 - x) * y, x * y], axis=1)
