"""The `Shape` form: one canonical shape in space, a camera for every image, and the place that each of its cells shows.

Source: 3D Congealing (Zhang et al., arXiv 2404.02125).
"""

from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from alignment.camera import Camera
from alignment.mesh import Mesh
from alignment.nearest_places import Nearest, NearestPlaces
from alignment.sampling import FloatArray, ImageSize, sample
from alignment.transferred import Transferred, transferred

Float64 = npt.NDArray[np.float64]
TEXTURE_EXTENT = np.ones(2)
VISIBLE_WITHIN = 0.025
"""How far from a point of the shape the nearest place that an image shows may lie, for the image to show the point."""
SPREAD = 0.015
"""Standard deviation of the Gaussian by which confidence falls with the distance between two places."""


@dataclass(frozen=True)
class Lifted:
    """What P points of a frame show of the shape."""

    points: Float64
    """(P, 3) in the canonical frame; NaN where the frame shows nothing of the shape."""
    confidence: Float64
    """(P,) in [0, 1]; 0 where it shows nothing."""


@dataclass(frozen=True)
class Projected:
    """Where P points of space are in a frame."""

    points: Float64
    """(P, 2): where the frame shows them; for those it does not show, where its camera projects them, which may be
    outside the frame, and NaN without a camera or behind it."""
    confidence: Float64
    """(P,) in [0, 1]; 0 where not visible."""
    visible: npt.NDArray[np.bool_]
    """(P,), whether the frame shows the point."""


@dataclass(frozen=True)
class Shape:
    """A shape that N images show. Frames are images by index, or None for the mesh's texture, [0, 1] x [0, 1]."""

    images: tuple[ImageSize, ...]
    mesh: Mesh
    """In the canonical frame, with uv and texture."""
    cameras: tuple[Camera | None, ...]
    """None where no pose was found."""
    coordinates: tuple[npt.NDArray[np.float32], ...]
    """Per image (h, w, 3): the canonical place that each of h x w equal cells that cover the image shows; NaN outside
    the object."""
    confidence: tuple[npt.NDArray[np.floating], ...]
    """Per image (h, w) in [0, 1]."""
    texels: npt.NDArray[np.float32]
    """(T, T, 3): the canonical place of each texel; NaN where the texture shows no surface."""
    _indices: dict[int | None, NearestPlaces] = field(default_factory=dict, init=False, repr=False, compare=False)

    def places(self, frame: int | None) -> npt.NDArray[np.float32]:
        """Return the places (h, w, 3) that a frame shows."""
        return self.texels if frame is None else self.coordinates[frame]

    def extent(self, frame: int | None) -> Float64:
        """Return the extent (2,) of a frame: pixels of an image, 1 of the texture."""
        return TEXTURE_EXTENT if frame is None else self.images[frame].extent

    def lift(self, points: FloatArray, *, source: int | None) -> Lifted:
        """Tell what points (P, 2), pixels of an image or places on the texture, show of the shape."""
        points = np.asarray(points, dtype=np.float64)
        places = sample(self.places(source), points, self.extent(source))
        is_known = np.isfinite(places.sum(axis=1))
        if source is None:
            return Lifted(places, is_known.astype(np.float64))
        trust = sample(self.confidence[source][..., None], points, self.extent(source))[:, 0]
        return Lifted(places, np.where(is_known, np.nan_to_num(trust), 0.0))

    def project(self, points: FloatArray, *, target: int | None) -> Projected:
        """Tell where points (P, 3) of the canonical frame are in an image, or on the texture.

        A frame shows a point if it shows a place within `VISIBLE_WITHIN` of it: where nearer parts hide the point, the
        places that are shown lie farther off. Confidence is exp(-d^2 / (2 `SPREAD`^2)) of that distance.
        """
        points = np.asarray(points, dtype=np.float64)
        found = self.nearest(points, target=target)
        visible = found.distance <= VISIBLE_WITHIN
        places = np.where(visible[:, None], found.points, np.nan)
        camera = None if target is None else self.cameras[target]
        if target is not None and camera is not None and not visible.all():
            places[~visible] = camera.project(points[~visible], self.images[target])[0]
        return Projected(places, np.where(visible, closeness(found.distance), 0.0), visible)

    def transfer(self, points: FloatArray, *, source: int | None, target: int | None) -> Transferred:
        """Carry points from frame to frame by way of the shape; what the target does not show has no correspondence.

        Args:
            points: (P, 2), pixels of the source image, or places on the texture where `source` is None.
            source: index of the image the points lie in; None for the texture.
            target: index of the image to carry to; None for the texture. A frame is carried to itself as it is.
        """
        given = np.asarray(points, dtype=np.float64)
        extent = self.extent(target)
        if source == target:
            return transferred(given, np.ones(len(given)), extent)
        lifted = self.lift(given, source=source)
        found = self.nearest(lifted.points, target=target)
        visible = found.distance <= VISIBLE_WITHIN
        places: Float64 = np.where(visible[:, None], found.points, np.nan)
        return transferred(places, lifted.confidence * closeness(found.distance), extent)

    def nearest(self, points: FloatArray, *, target: int | None) -> Nearest:
        """Find what a frame shows nearest to points (P, 3); it shows them if that is within `VISIBLE_WITHIN`."""
        if target not in self._indices:
            self._indices[target] = NearestPlaces(self.places(target), self.extent(target))
        return self._indices[target].find(points, within=VISIBLE_WITHIN)


def closeness(distance: FloatArray) -> Float64:
    """Turn distances in space into confidences in [0, 1]."""
    return np.asarray(np.exp(-0.5 * np.square(distance / SPREAD)), dtype=np.float64)
