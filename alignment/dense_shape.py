"""Read the maps of a shape, from frame to frame by way of space, at very many places."""

from functools import cached_property

import numpy as np
import numpy.typing as npt

from alignment.dense_field import DenseField, Float32, any_of_four
from alignment.sampling import FloatArray
from alignment.shape import VISIBLE_WITHIN, Shape, closeness

_TOLERANCE_CELLS = 0.25


class SpaceMap:
    """The map of a shape from one frame to another one, ready to be read.

    Every cell of the source is carried once. Between four cells the map is blended, if that is right at their middle to
    a quarter of a cell of the target; where it is not, since the object ends there, one part hides another or the
    texture has a seam, each place is carried by itself. So nothing is smeared over what lies far apart in space.

    Args:
        shape: the result.
        source: index of the image to start from; None for the texture.
        target: index of the image to arrive at; None for the texture; not the source.
    """

    def __init__(self, shape: Shape, source: int | None, target: int | None) -> None:
        self._shape, self._source, self._target = shape, source, target
        self._extent = shape.extent(source)

    def at_crossings(self, x: npt.NDArray[np.float64], y: npt.NDArray[np.float64]) -> Float32:
        """Tell where the crossings of columns x (c,) and rows y (r,) of the source lie in the target: (r, c, 2)."""
        field = self._blended
        places = field.whole_at_crossings(x, y)
        row, column = np.nonzero(field.at_patches(self._rough, x, y))
        points = np.stack([x[column], y[row]], axis=1)
        places[row, column] = self._shape.transfer(points, source=self._source, target=self._target).points
        return places

    def confidence(self, x: npt.NDArray[np.float64], y: npt.NDArray[np.float64], places: Float32) -> Float32:
        """Return the confidence (r, c) in [0, 1] of the places (r, c, 2) that `at_crossings` gave; 0 where none."""
        shown = self._shown.at_crossings(x, y)
        found = self._shown_on_arrival.at(places.reshape(-1, 2)).reshape(shown.shape)
        trust = closeness(np.linalg.norm(found - shown, axis=2)).astype(np.float32)
        if self._trust is not None:
            trust *= self._trust.at_crossings(x, y)[..., 0]
        return np.nan_to_num(trust)

    @cached_property
    def stored(self) -> Float32:
        """Where the cells of the source lie in the target, (h, w, 2); NaN where it does not show them."""
        shown = self._shape.places(self._source)
        return self._carried(shown.reshape(-1, 3)).reshape(*shown.shape[:2], 2)

    @cached_property
    def _blended(self) -> DenseField:
        return DenseField(self.stored, self._extent)

    @cached_property
    def _rough(self) -> npt.NDArray[np.bool_]:
        """Patches (h, w), by their cells to the top left, between whose cells the map cannot be blended."""
        middle = np.full_like(self.stored, np.nan)
        middle[:-1, :-1] = self._carried(_means(self._shape.places(self._source))).reshape(middle[1:, 1:].shape)
        blended = np.full_like(middle, np.nan)
        blended[:-1, :-1] = _means(self.stored).reshape(blended[1:, 1:].shape)
        rows, columns = self._shape.places(self._target).shape[:2]
        off = np.abs(middle - blended) * (columns, rows) / self._shape.extent(self._target)
        is_smooth = (off <= _TOLERANCE_CELLS).all(axis=2)
        is_seen = any_of_four(np.isfinite(self.stored[..., 0])) | np.isfinite(middle[..., 0])
        rough: npt.NDArray[np.bool_] = is_seen & ~is_smooth
        return rough

    @cached_property
    def _shown(self) -> DenseField:
        return DenseField(self._shape.places(self._source), self._extent)

    @cached_property
    def _shown_on_arrival(self) -> DenseField:
        return DenseField(self._shape.places(self._target), self._shape.extent(self._target))

    @cached_property
    def _trust(self) -> DenseField | None:
        """Confidence of what the source shows; what the texture shows is certain."""
        if self._source is None:
            return None
        return DenseField(self._shape.confidence[self._source][..., None], self._extent)

    def _carried(self, shown: FloatArray) -> Float32:
        """Places (P, 2) in the target of places (P, 3) in space; NaN where it does not show them."""
        found = self._shape.nearest(np.asarray(shown, dtype=np.float64), target=self._target)
        return np.where(found.distance[:, None] <= VISIBLE_WITHIN, found.points, np.nan).astype(np.float32)


def _means(field: FloatArray) -> npt.NDArray[np.floating]:
    """Means (P, C) of the four cells of every patch of a field (h, w, C), row by row; NaN where one has no value."""
    sums = field[:-1, :-1] + field[1:, :-1] + field[:-1, 1:] + field[1:, 1:]
    return np.asarray(sums / 4).reshape(-1, field.shape[2])
