"""The `PairwiseMaps` form: a dense map for each ordered pair of images."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from alignment.sampling import ImageSize, sample
from alignment.transferred import Transferred, transferred


class NoAtlasError(ValueError):
    """The result has no atlas to carry points to or from."""


@dataclass(frozen=True)
class PairwiseMaps:
    """Correspondence maps between all ordered pairs of N images."""

    images: tuple[ImageSize, ...]
    maps: Mapping[tuple[int, int], npt.NDArray[np.float32]]
    """Per pair (i, j) an array (h_i, w_i, 2): pixel (x, y) of image j for each of h_i x w_i equal cells that cover
    image i; NaN where none."""
    confidence: Mapping[tuple[int, int], npt.NDArray[np.floating]]
    """Per pair (i, j) an array (h_i, w_i) in [0, 1]."""

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
        carried = sample(self.maps[source, target], places, extent)
        confidence = sample(self.confidence[source, target][..., None], places, extent)[:, 0]
        return transferred(carried, confidence, self.images[target].extent)
