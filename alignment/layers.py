"""Painted layers: what is laid over pictures, ready to be read at any place and any scale."""

import numpy as np
import numpy.typing as npt

Float32 = npt.NDArray[np.float32]
UInt8 = npt.NDArray[np.uint8]
UInt16 = npt.NDArray[np.uint16]
_FULL = np.float32(65535)
_BAND_PIXELS = 1 << 18


class EmptyLayerError(ValueError):
    """Nothing is painted on the layer."""


class Layer:
    """A picture with straight alpha, kept as the smaller, premultiplied copies that its readers ask for.

    Args:
        pixels: (h, w, 4) uint8, red, green, blue and straight alpha.

    Raises:
        EmptyLayerError: no pixel has any alpha.
    """

    def __init__(self, pixels: UInt8) -> None:
        if pixels.ndim != 3 or pixels.shape[2] != 4 or pixels.dtype != np.uint8:
            raise ValueError(f"a layer is (h, w, 4) uint8; got {pixels.shape} {pixels.dtype}")
        self._pixels = pixels
        self._painted = _bounds(pixels[..., 3] > 0)
        self._copies: dict[int, ReducedLayer] = {}

    @property
    def size(self) -> tuple[int, int]:
        """Width and height in pixels."""
        return self._pixels.shape[1], self._pixels.shape[0]

    def reduced(self, factor: int) -> "ReducedLayer":
        """Return the layer averaged over blocks of factor x factor pixels."""
        if factor not in self._copies:
            self._copies[factor] = self._reduce(factor)
        return self._copies[factor]

    def _reduce(self, factor: int) -> "ReducedLayer":
        width, height = self.size
        left, top, right, bottom = self._painted
        # Whole blocks, and one more on each side, as far as blending reaches: beyond, nothing need be read.
        left, top = (max(edge // factor - 1, 0) * factor for edge in (left, top))
        right, bottom = min((-(-right // factor) + 1) * factor, width), min((-(-bottom // factor) + 1) * factor, height)
        blocks = _block_means(self._pixels[top:bottom, left:right], factor)
        return ReducedLayer(blocks, factor, (left, top, right, bottom))


class ReducedLayer:
    """The painted part of a layer at one scale, premultiplied."""

    def __init__(self, blocks: UInt16, factor: int, rectangle: tuple[int, int, int, int]) -> None:
        """Take the means (h, w, 4) of blocks that cover the rectangle (x0, y0, x1, y1), in the layer's pixels."""
        self._rectangle = rectangle
        self._factor = factor
        self._height, self._width = blocks.shape[:2]
        # One element for each block: read in one step, and taken apart after.
        self._packed = np.ascontiguousarray(blocks).view(np.uint64).reshape(-1)

    def reaches(self, x: Float32, y: Float32) -> npt.NDArray[np.bool_]:
        """Tell at which places (...), in the layer's pixels, there may be paint; NaN is none."""
        left, top, right, bottom = self._rectangle
        reached: npt.NDArray[np.bool_] = (x >= left) & (x <= right) & (y >= top) & (y <= bottom)
        return reached

    def read(self, x: Float32, y: Float32) -> Float32:
        """Read bilinearly at places (P,) that it reaches: premultiplied (4, P) in [0, 1]."""
        left, top = self._rectangle[:2]
        column, right, across = self._neighbours(x - np.float32(left), self._width)
        row, below, down = self._neighbours(y - np.float32(top), self._height)
        row, below = row * self._width, below * self._width
        colour = np.zeros((4, len(x)), dtype=np.float32)
        self._add(colour, row + column, (1 - across) * (1 - down))
        self._add(colour, row + right, across * (1 - down))
        self._add(colour, below + column, (1 - across) * down)
        self._add(colour, below + right, across * down)
        return colour

    def _add(self, colour: Float32, index: npt.NDArray[np.intp], weight: Float32) -> None:
        taken = self._packed.take(index).view(np.uint16).reshape(-1, 4)
        weight = weight / _FULL
        for channel in range(4):
            colour[channel] += taken[:, channel] * weight

    def _neighbours(self, position: Float32, count: int) -> tuple[npt.NDArray[np.intp], npt.NDArray[np.intp], Float32]:
        place = np.clip(position / np.float32(self._factor) - np.float32(0.5), 0, count - 1)
        before = place.astype(np.intp)
        return before, np.minimum(before + 1, count - 1), place - before.astype(np.float32)


def _bounds(painted: npt.NDArray[np.bool_]) -> tuple[int, int, int, int]:
    columns, rows = np.flatnonzero(painted.any(axis=0)), np.flatnonzero(painted.any(axis=1))
    if rows.size == 0:
        raise EmptyLayerError("the layer is transparent everywhere; paint on it")
    return int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1


def _block_means(pixels: UInt8, factor: int) -> UInt16:
    """Premultiply straight pixels (h, w, 4) and average blocks; the last ones repeat the border."""
    rows, columns = -(-pixels.shape[0] // factor), -(-pixels.shape[1] // factor)
    means = np.empty((rows, columns, 4), dtype=np.uint16)
    band = max(1, _BAND_PIXELS // (columns * factor * factor))
    for start in range(0, rows, band):
        part = pixels[start * factor : (start + band) * factor]
        missing = (-part.shape[0] % factor, columns * factor - part.shape[1])
        colour: Float32 = np.pad(part, ((0, missing[0]), (0, missing[1]), (0, 0)), mode="edge").astype(np.float32)
        colour[..., :3] *= colour[..., 3:]
        colour[..., :3] /= 255
        blocks = colour.reshape(-1, factor, columns, factor, 4).mean(axis=(1, 3))
        means[start : start + band] = np.rint(blocks * 257)
    return means
