"""Edits: what is painted once, on the atlas or on one image, laid over every image of the set.

Painting is carried by backward sampling: every pixel of a result asks the maps where it lies on the painted layer, and
reads it there, at four places (2 x 2) a pixel, premultiplied, from a copy of the layer reduced to about the result's
scale. So there are neither holes nor a triangulation, and thin strokes do not break where the map shrinks the layer.
Neural Congealing (arXiv 2302.03956) instead throws every painted pixel forward and interpolates between them;
`workers.evaluation.official_edits` has those rules, and `alignment.edits_reference` this one pixel by pixel.
"""

from typing import Literal

import numpy as np
import numpy.typing as npt

from alignment.dense import DenseMap
from alignment.forms import Form
from alignment.layers import Layer
from alignment.sampling import ImageSize, cell_centres

Blend = Literal["over", "multiply", "screen"]
Float32 = npt.NDArray[np.float32]
UInt8 = npt.NDArray[np.uint8]

SUBPIXELS = (0.25, 0.75)
_BAND_PIXELS = 1 << 15
_PROBES = 48


def propagate(
    form: Form,
    layer: Layer,
    *,
    source: int | None,
    target: int,
    size: ImageSize,
    opacity: float = 1.0,
    by_confidence: bool = False,
) -> UInt8:
    """Carry a painted layer to one image.

    Args:
        form: the result whose maps carry it.
        layer: covers the whole source.
        source: index of the image that was painted on, None for the atlas, of a shape its texture. For the target
            itself the map is the identity.
        target: index of the image that gets the paint.
        size: size of the picture to make of the target.
        opacity: in (0, 1]; multiplies alpha.
        by_confidence: multiply alpha by the map's confidence too.

    Returns:
        (height, width, 4) uint8 with straight alpha; transparent where the maps lead nowhere or off the layer.

    Raises:
        NoAtlasError: painted on the atlas of a result that has none.
        PointsOnlyError: of the target and the painted image the result knows single points only.
    """
    carrier = _Carrier(DenseMap(form, source=target, target=source), layer, size, by_confidence=by_confidence)
    result = np.zeros((size.height, size.width, 4), dtype=np.uint8)
    rows = max(1, _BAND_PIXELS // size.width)
    for start in range(0, size.height, rows):
        band = slice(start, min(start + rows, size.height))
        result[band] = _straight(carrier.paint(band), opacity)
    return result


def composite(picture: UInt8, layer: UInt8, blend: Blend) -> UInt8:
    """Lay a layer over a picture.

    Args:
        picture: (H, W, 3) uint8.
        layer: (H, W, 4) uint8 with straight alpha.
        blend: `over` shows the paint, `multiply` darkens by it, `screen` lightens by it (W3C Compositing and Blending
            Level 1, section 5.8, over an opaque backdrop).
    """
    result = picture.copy()
    rows = max(1, _BAND_PIXELS // picture.shape[1])
    for start in range(0, picture.shape[0], rows):
        band = slice(start, start + rows)
        if layer[band, :, 3].any():
            result[band] = _blended(picture[band], layer[band], blend)
    return result


class _Carrier:
    """Paints the rows of one target."""

    def __init__(self, dense: DenseMap, layer: Layer, size: ImageSize, *, by_confidence: bool) -> None:
        self._map = dense
        self._by_confidence = by_confidence
        self._size = size
        self._pixel = dense.source_extent / (size.width, size.height)
        self._to_layer = (np.array(layer.size) / dense.target_extent).astype(np.float32)
        self._layer = layer.reduced(reduction_factor(dense, layer.size, size))

    def paint(self, band: slice) -> Float32:
        """Return rows of the result: premultiplied (4, rows, W) in [0, 1]."""
        total = np.zeros((4, band.stop - band.start, self._size.width), dtype=np.float32)
        for down in SUBPIXELS:
            for across in SUBPIXELS:
                x = (np.arange(self._size.width) + across) * self._pixel[0]
                y = (np.arange(band.start, band.stop) + down) * self._pixel[1]
                self._add(total, x, y)
        total /= len(SUBPIXELS) ** 2
        return total

    def _add(self, total: Float32, x: npt.NDArray[np.float64], y: npt.NDArray[np.float64]) -> None:
        places = self._map.at_crossings(x, y)
        across, down = places[..., 0] * self._to_layer[0], places[..., 1] * self._to_layer[1]
        reached = np.flatnonzero(self._layer.reaches(across, down))
        if reached.size == 0:
            return
        colour = self._layer.read(across.take(reached), down.take(reached))
        if self._by_confidence:
            colour *= self._map.confidence(x, y, places).take(reached)
        for channel in range(4):
            total[channel].reshape(-1)[reached] += colour[channel]


def reduction_factor(dense: DenseMap, layer_size: tuple[int, int], size: ImageSize) -> int:
    """Return by how much to reduce a layer before it is read: its pixels a step between the places read, rounded.

    The step is the median over the map of the square root of the Jacobian's determinant, which is taken between probes
    all over the result, or from one pixel to the next where the map has seams that would lie between probes.

    Args:
        dense: the map from the target to the layer's frame.
        layer_size: width and height of the layer.
        size: of the result; every pixel of it is read at 2 x 2 places.
    """
    rows, columns = min(_PROBES, size.height), min(_PROBES, size.width)
    if rows < 2 or columns < 2:
        return 1
    centres = cell_centres(rows, columns, dense.source_extent)
    x, y = centres[0, :, 0], centres[:, 0, 1]
    pixel = dense.source_extent / (size.width, size.height)
    if dense.has_seams:
        x, y = (np.stack([each, each + step], axis=1).ravel() for each, step in zip((x, y), pixel, strict=True))
    places = dense.at_crossings(x, y) * (np.array(layer_size) / dense.target_extent)
    stride = 2 if dense.has_seams else 1
    across = np.diff(places, axis=1)[:-1:stride, ::stride]
    down = np.diff(places, axis=0)[::stride, :-1:stride]
    area = np.abs(across[..., 0] * down[..., 1] - across[..., 1] * down[..., 0])
    area = area[np.isfinite(area)]
    if area.size == 0:
        return 1
    steps_a_probe = np.prod((x[1] - x[0], y[1] - y[0]) / pixel) * len(SUBPIXELS) ** 2
    return max(1, round(float(np.sqrt(np.median(area) / steps_a_probe))))


def _straight(colour: Float32, opacity: float) -> UInt8:
    """Turn premultiplied (4, h, w) in [0, 1] into straight bytes (h, w, 4); what rounds to no alpha is 0 altogether."""
    alpha = np.rint(colour[3] * np.float32(255 * opacity))
    straight = colour[:3] * (255 / np.maximum(colour[3], np.float32(1e-6)))
    result = np.zeros((*alpha.shape, 4), dtype=np.uint8)
    for channel in range(3):
        result[..., channel] = np.where(alpha > 0, np.rint(np.minimum(straight[channel], 255)), 0)
    result[..., 3] = np.minimum(alpha, 255)
    return result


def _blended(picture: UInt8, layer: UInt8, blend: Blend) -> UInt8:
    full = np.float32(255)
    below, paint = picture.astype(np.float32), layer[..., :3].astype(np.float32)
    if blend == "multiply":
        paint = below * paint / full
    elif blend == "screen":
        paint = below + paint - below * paint / full
    alpha = layer[..., 3:].astype(np.float32) / full
    blended: UInt8 = np.rint(below + alpha * (paint - below)).astype(np.uint8)
    return blended
