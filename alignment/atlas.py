"""The `Atlas` form: every image is mapped to and from one canonical square."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from alignment.sampling import ImageSize, sample, within
from alignment.transferred import Transferred, transferred

CANONICAL_EXTENT = np.ones(2)


@dataclass(frozen=True)
class Atlas:
    """A joint atlas of N images on the canonical square [0, 1] x [0, 1]."""

    images: tuple[ImageSize, ...]
    to_canonical: tuple[npt.NDArray[np.float32], ...]
    """Per image (h, w, 2): canonical (x, y) of each of h x w equal cells that cover the image; NaN where none."""
    from_canonical: tuple[npt.NDArray[np.float32], ...]
    """Per image (A, A, 2): image pixel (x, y) of each atlas cell; may lie outside the image; NaN where none."""
    confidence: tuple[npt.NDArray[np.floating], ...]
    """Per image (h, w) in [0, 1], on the grid of `to_canonical`."""

    @property
    def size(self) -> int:
        """Side A of the atlas in cells."""
        return int(self.from_canonical[0].shape[0])

    def transfer(self, points: npt.NDArray[np.floating], *, source: int | None, target: int | None) -> Transferred:
        """Carry points by way of the atlas.

        Args:
            points: (P, 2), pixels of the source image, or canonical coordinates where `source` is None.
            source: index of the image the points lie in; None for the atlas.
            target: index of the image to carry to; None for the atlas.
        """
        canonical, confidence = self._canonical(np.asarray(points, dtype=np.float64), source)
        if target is None:
            return transferred(canonical, confidence, CANONICAL_EXTENT)
        extent = self.images[target].extent
        carried = sample(self.from_canonical[target], canonical, CANONICAL_EXTENT)
        arrival = sample(self.confidence[target][..., None], carried, extent)[:, 0]
        return transferred(carried, np.minimum(confidence, np.nan_to_num(arrival)), extent)

    def _canonical(
        self, points: npt.NDArray[np.float64], source: int | None
    ) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
        if source is None:
            inside = within(points, CANONICAL_EXTENT)
            return np.where(inside[:, None], points, np.nan), inside.astype(np.float64)
        extent = self.images[source].extent
        canonical = sample(self.to_canonical[source], points, extent)
        return canonical, sample(self.confidence[source][..., None], points, extent)[:, 0]
