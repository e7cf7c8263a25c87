"""The `PairwiseMaps` form: for ordered pairs of images a dense map, or the places of single points."""

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from alignment.queried_points import nearest_rows
from alignment.sampling import ImageSize, sample
from alignment.transferred import Transferred, transferred

NEAR = 0.01
"""Share of the source's longer side within which a point takes the place of a queried one, where there is no map."""
_SAME_PX = 0.5
_NOWHERE = np.full((1, 1, 2), np.nan, dtype=np.float32)
_NO_TRUST = np.zeros((1, 1), dtype=np.float32)


class NoAtlasError(ValueError):
    """The result has no atlas to carry points to or from."""


class PointsOnlyError(ValueError):
    """The result knows the places of single points of a pair of images, and has no dense map of it."""


@dataclass(frozen=True)
class PairwiseMaps:
    """Correspondences between N images, of all ordered pairs or of some: dense maps, or places of queried points."""

    images: tuple[ImageSize, ...]
    maps: Mapping[tuple[int, int], npt.NDArray[np.float32]]
    """Per pair (i, j) an array (h_i, w_i, 2): pixel (x, y) of image j for each of h_i x w_i equal cells that cover
    image i; NaN where none. A pair that stands neither here nor in `points` has no correspondence at all."""
    confidence: Mapping[tuple[int, int], npt.NDArray[np.floating]]
    """Per pair (i, j) of `maps` an array (h_i, w_i) in [0, 1]."""
    points: Mapping[tuple[int, int], npt.NDArray[np.float32]] = field(default_factory=dict)
    """Per pair (i, j) an array (P, 5), a row for each point of image i that was looked for in image j: its x and y in
    pixels of i, x and y in pixels of j, NaN where it was not found, and a confidence in [0, 1]."""

    def has(self, source: int, target: int) -> bool:
        """Tell whether anything is known of this ordered pair, a map or points; every image has a map to itself."""
        return self.has_map(source, target) or self.has_points(source, target)

    def has_map(self, source: int, target: int) -> bool:
        """Tell whether there is a dense map of this ordered pair; every image has one to itself."""
        return source == target or (source, target) in self.maps

    def has_points(self, source: int, target: int) -> bool:
        """Tell whether points of the source were looked for in the target."""
        return len(self.points.get((source, target), ())) > 0

    def is_points_only(self, source: int, target: int) -> bool:
        """Tell whether a dense map is missing because single points were asked for, of this pair or of any."""
        if self.has_map(source, target):
            return False
        return self.has_points(source, target) or (not self.maps and any(map(len, self.points.values())))

    def places(self, source: int, target: int) -> npt.NDArray[np.float32]:
        """Return the map (h, w, 2) of a pair; one NaN where there is none."""
        return self.maps.get((source, target), _NOWHERE)

    def trust(self, source: int, target: int) -> npt.NDArray[np.floating]:
        """Return the confidence (h, w) of a pair; 0 where there is no map."""
        return self.confidence.get((source, target), _NO_TRUST)

    def grid(self, source: int) -> tuple[int, int]:
        """Return the rows and columns of the maps from an image; 1 x 1 where it has none."""
        return next(((each.shape[0], each.shape[1]) for (i, _), each in self.maps.items() if i == source), (1, 1))

    def transfer(self, points: npt.NDArray[np.floating], *, source: int | None, target: int | None) -> Transferred:
        """Carry points (P, 2), pixels of image `source`, to image `target`.

        Without a map of the pair a point takes the very place of the queried point that is nearest to it, if that lies
        within `NEAR` of the source's longer side, and has no correspondence else: nothing is known between queried
        points. With a map and points, those within half a pixel of a queried one take its place, the others the map's.

        Raises:
            NoAtlasError: source or target is None.
        """
        if source is None or target is None:
            raise NoAtlasError("pairwise maps hold no atlas: name an image as source and as target")
        extent = self.images[source].extent
        places = np.asarray(points, dtype=np.float64)
        if source == target:
            return transferred(places, np.ones(len(places)), extent)
        carried = sample(self.places(source, target), places, extent)
        confidence = sample(self.trust(source, target)[..., None], places, extent)[:, 0]
        rows = self._queried_rows(places, source, target)
        if rows is not None:
            queried = self.points[source, target][rows[rows >= 0]]
            carried[rows >= 0], confidence[rows >= 0] = queried[:, 2:4], queried[:, 4]
        return transferred(carried, confidence, self.images[target].extent)

    def was_asked(self, points: npt.NDArray[np.floating], *, source: int, target: int) -> npt.NDArray[np.bool_]:
        """Tell for which points (P, 2) of the source a place in the target was looked for at all, whether or not found.

        With a dense map that is every point; else those that `transfer` gives the place of a queried one.
        """
        if self.has_map(source, target):
            return np.ones(len(points), dtype=np.bool_)
        rows = self._queried_rows(np.asarray(points, dtype=np.float64), source, target)
        return np.zeros(len(points), dtype=np.bool_) if rows is None else rows >= 0

    def _queried_rows(self, places: npt.NDArray[np.float64], source: int, target: int) -> npt.NDArray[np.intp] | None:
        """Return for each place (P, 2) which queried point speaks for it, -1 for none; None where none was queried."""
        if not self.has_points(source, target):
            return None
        reach = _SAME_PX if self.has_map(source, target) else NEAR * float(self.images[source].extent.max())
        return nearest_rows(places, self.points[source, target], reach=reach)
