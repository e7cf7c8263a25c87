"""Read maps at very many places: whole maps from frame to frame, and the rows of a picture.

Everything here gives what `alignment.sampling.sample` and the forms' `transfer` give, to float32's precision, but at
the price of a few array operations a place: where the field is whole, plain bilinear blending; only the rim of its
holes goes through `sample`, which has the rules. The maps of a shape are blended too, where that is as good.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from alignment.atlas import CANONICAL_EXTENT, Atlas
from alignment.dense_field import DenseField, Float32
from alignment.dense_shape import SpaceMap
from alignment.forms import Form
from alignment.pairwise import NoAtlasError, PairwiseMaps, PointsOnlyError
from alignment.sampling import cell_centres, known, within
from alignment.shape import TEXTURE_EXTENT, Shape


class DenseMap:
    """The map of a result from one frame to another, ready to be read.

    Args:
        form: the result.
        source: index of the image to start from; None for the atlas, of a shape the texture.
        target: index of the image to arrive at; None likewise. The map of a frame to itself is the identity.

    Raises:
        NoAtlasError: the result has no atlas, and source or target is None.
        PointsOnlyError: of this pair the result knows single points only.
    """

    def __init__(self, form: Form, *, source: int | None, target: int | None) -> None:
        self.source_extent = frame_extent(form, source)
        self.target_extent = frame_extent(form, target)
        self._steps: list[DenseField] = []
        self._trust: DenseField | None = None
        self._trust_on_arrival: DenseField | None = None
        self._through_space: SpaceMap | None = None
        self.has_seams = isinstance(form, Shape) and target is None
        """Whether neighbours in the source may lie far apart in the target: a texture consists of patches."""
        if source == target:
            return
        if isinstance(form, PairwiseMaps):
            self._follow_pair(form, source, target)
        elif isinstance(form, Shape):
            self._through_space = SpaceMap(form, source, target)
        else:
            self._follow_atlas(form, source, target)

    def at_crossings(self, x: npt.NDArray[np.float64], y: npt.NDArray[np.float64]) -> Float32:
        """Tell where the crossings of columns x (c,) and rows y (r,) of the source lie in the target: (r, c, 2)."""
        if self._through_space is not None:
            return self._through_space.at_crossings(x, y)
        if not self._steps:
            points = np.stack(np.meshgrid(x, y), axis=-1)
            identity: Float32 = np.where(within(points, self.source_extent)[..., None], points, np.nan).astype("f4")
            return identity
        places = self._steps[0].at_crossings(x, y)
        for step in self._steps[1:]:
            places = step.at(places.reshape(-1, 2)).reshape(places.shape)
        return places

    @property
    def stored(self) -> Float32 | None:
        """The map (h, w, 2) as the result holds it, or None where it is composed of several or is the identity.

        Of a shape it is the map of its cells, which lie on its grid but are not stored.
        """
        if self._through_space is not None:
            return self._through_space.stored
        return self._steps[0].values if len(self._steps) == 1 else None

    def confidence(self, x: npt.NDArray[np.float64], y: npt.NDArray[np.float64], places: Float32) -> Float32:
        """Return the confidence (r, c) in [0, 1] of the places (r, c, 2) that `at_crossings` gave; 0 where none."""
        if self._through_space is not None:
            return self._through_space.confidence(x, y, places)
        trust = np.ones(places.shape[:2], dtype=np.float32)
        if self._trust is not None:
            trust = np.nan_to_num(self._trust.at_crossings(x, y)[..., 0])
        if self._trust_on_arrival is not None:
            arrival = self._trust_on_arrival.at(places.reshape(-1, 2)).reshape(trust.shape)
            trust = np.minimum(trust, np.nan_to_num(arrival))
        return np.where(known(places), trust, np.float32(0))

    def _follow_pair(self, pairs: PairwiseMaps, source: int | None, target: int | None) -> None:
        assert source is not None
        assert target is not None
        if pairs.is_points_only(source, target):
            raise PointsOnlyError(
                f"there is no dense map from image {source} to image {target}: the result holds places of single "
                "points only, which `transfer` carries; a dense map needs points all over the image, a grid"
            )
        self._steps = [DenseField(pairs.places(source, target), self.source_extent)]
        self._trust = DenseField(pairs.trust(source, target)[..., None], self.source_extent)

    def _follow_atlas(self, atlas: Atlas, source: int | None, target: int | None) -> None:
        if source is not None:
            self._steps.append(DenseField(atlas.to_canonical[source], self.source_extent))
            self._trust = DenseField(atlas.confidence[source][..., None], self.source_extent)
        if target is not None:
            self._steps.append(DenseField(atlas.from_canonical[target], CANONICAL_EXTENT))
            self._trust_on_arrival = DenseField(atlas.confidence[target][..., None], self.target_extent)


@dataclass(frozen=True)
class CorrespondenceMap:
    """A map from one frame to another as contiguous arrays."""

    places: Float32
    """(h, w, 2): where each of h x w equal cells of the source lies in the target; NaN where none."""
    confidence: npt.NDArray[np.float16]
    """(h, w) in [0, 1]; 0 where there is none."""


def map_between(
    form: Form, *, source: int | None, target: int | None, shape: tuple[int, int] | None = None
) -> CorrespondenceMap:
    """Compute the map from one frame (an image by index, or None for the atlas) to another.

    Args:
        form: the result.
        source: where the map starts.
        target: where it arrives.
        shape: rows and columns of cells; left out, the source's own, at which stored values come back as they are.

    Raises:
        NoAtlasError: the result has no atlas, and source or target is None.
        PointsOnlyError: of this pair the result knows single points only.
    """
    dense = DenseMap(form, source=source, target=target)
    rows, columns = shape or native_shape(form, source)
    centres = cell_centres(rows, columns, dense.source_extent)
    x, y = centres[0, :, 0], centres[:, 0, 1]
    places = dense.stored if shape is None and dense.stored is not None else dense.at_crossings(x, y)
    confidence = np.ascontiguousarray(dense.confidence(x, y, places), dtype=np.float16)
    return CorrespondenceMap(np.ascontiguousarray(places), confidence)


def native_shape(form: Form, source: int | None) -> tuple[int, int]:
    """Return rows and columns of the grid on which the maps from a frame are stored."""
    if isinstance(form, PairwiseMaps):
        return (1, 1) if source is None else form.grid(source)
    if isinstance(form, Shape):
        rows, columns, _ = form.places(source).shape
        return rows, columns
    if source is None:
        return form.size, form.size
    grid = form.to_canonical[source]
    return grid.shape[0], grid.shape[1]


def frame_extent(form: Form, index: int | None) -> npt.NDArray[np.float64]:
    """Return the extent (2,) of an image by index, or of the atlas, which of a shape is its texture.

    Raises:
        NoAtlasError: the index is None and the result has no atlas.
    """
    if index is not None:
        return form.images[index].extent
    if isinstance(form, PairwiseMaps):
        raise NoAtlasError("pairwise maps hold no atlas: name an image as source and as target")
    if isinstance(form, Shape):
        return TEXTURE_EXTENT
    return CANONICAL_EXTENT
