"""The `PairwiseMaps` form: a dense map for ordered pairs of images."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from alignment.sampling import ImageSize, sample
from alignment.transferred import Transferred, transferred

_NOWHERE = np.full((1, 1, 2), np.nan, dtype=np.float32)
_NO_TRUST = np.zeros((1, 1), dtype=np.float32)


class NoAtlasError(ValueError):
    """The result has no atlas to carry points to or from."""


@dataclass(frozen=True)
class PairwiseMaps:
    """Correspondence maps between N images: of all ordered pairs, or of some."""

    images: tuple[ImageSize, ...]
    maps: Mapping[tuple[int, int], npt.NDArray[np.float32]]
    """Per pair (i, j) an array (h_i, w_i, 2): pixel (x, y) of image j for each of h_i x w_i equal cells that cover
    image i; NaN where none. A pair that is left out has no correspondence at all."""
    confidence: Mapping[tuple[int, int], npt.NDArray[np.floating]]
    """Per pair (i, j) an array (h_i, w_i) in [0, 1]."""

    def has(self, source: int, target: int) -> bool:
        """Tell whether there is a map of this ordered pair; every image has one to itself."""
        return source == target or (source, target) in self.maps

    def places(self, source: int, target: int) -> npt.NDArray[np.float32]:
        """Return the map (h, w, 2) of a pair; one NaN where there is none."""
        return self.maps.get((source, target), _NOWHERE)

    def trust(self, source: int, target: int) -> npt.NDArray[np.floating]:
        """Return the confidence (h, w) of a pair; 0 where there is no map."""
        return self.confidence.get((source, target), _NO_TRUST)

    def grid(self, source: int) -> tuple[int, int]:
        """Return the rows and columns of the maps from an image; 1 x 1 where it has none."""
        return next(((field.shape[0], field.shape[1]) for (i, _), field in self.maps.items() if i == source), (1, 1))

    def transfer(self, points: npt.NDArray[np.floating], *, source: int | None, target: int | None) -> Transferred:
        """Carry points (P, 2), pixels of image `source`, to image `target`.

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
        return transferred(carried, confidence, self.images[target].extent)
