"""The rule of `alignment.edits`, place by place and in plain words; slow, for comparison."""

import numpy as np
import numpy.typing as npt

from alignment.dense import frame_extent
from alignment.edits import SUBPIXELS
from alignment.forms import Form
from alignment.sampling import ImageSize

Float64 = npt.NDArray[np.float64]


def propagate_by_points(
    form: Form,
    pixels: npt.NDArray[np.uint8],
    *,
    source: int | None,
    target: int,
    size: ImageSize,
    factor: int = 1,
    by_confidence: bool = False,
) -> Float64:
    """Carry a layer (h, w, 4), reduced by `factor`, to one image: premultiplied (H, W, 4) in [0, 1].

    Each place of each pixel goes through the form's own `transfer`; see `alignment.edits.propagate`.
    """
    reduced = reduce_layer(pixels, factor)
    extent, goal = form.images[target].extent, frame_extent(form, source)
    scale = np.array(pixels.shape[1::-1]) / goal / factor
    total = np.zeros((size.height, size.width, 4))
    for down in SUBPIXELS:
        for across in SUBPIXELS:
            x, y = np.arange(size.width) + across, np.arange(size.height) + down
            places = np.stack(np.meshgrid(x, y), axis=-1).reshape(-1, 2) / (size.width, size.height) * extent
            carried = form.transfer(places, source=target, target=source)
            colour = _read(reduced, carried.points * scale, goal * scale)
            if by_confidence:
                colour *= carried.confidence[:, None]
            total += colour.reshape(total.shape)
    return total / len(SUBPIXELS) ** 2


def reduce_layer(pixels: npt.NDArray[np.uint8], factor: int) -> Float64:
    """Premultiply (h, w, 4) bytes to [0, 1] and average blocks of factor x factor; the last ones repeat the border."""
    missing = (-pixels.shape[0] % factor, -pixels.shape[1] % factor)
    colour = np.pad(pixels, ((0, missing[0]), (0, missing[1]), (0, 0)), mode="edge") / 255
    colour[..., :3] *= colour[..., 3:]
    height, width = colour.shape[0] // factor, colour.shape[1] // factor
    blocks: Float64 = colour.reshape(height, factor, width, factor, 4).mean(axis=(1, 3))
    return blocks


def _read(picture: Float64, points: Float64, extent: Float64) -> Float64:
    """Read a picture (h, w, 4) at points (P, 2), in its own pixels, bilinearly; 0 outside the extent (2,)."""
    with np.errstate(invalid="ignore"):
        inside = ((points >= 0) & (points <= extent)).all(axis=1)
    result = np.zeros((len(points), 4))
    for index in np.flatnonzero(inside):
        x, y = np.clip(points[index] - 0.5, 0, np.array(picture.shape[1::-1]) - 1)
        column, row = int(x), int(y)
        right, below = min(column + 1, picture.shape[1] - 1), min(row + 1, picture.shape[0] - 1)
        top = picture[row, column] * (1 - x + column) + picture[row, right] * (x - column)
        bottom = picture[below, column] * (1 - x + column) + picture[below, right] * (x - column)
        result[index] = top * (1 - y + row) + bottom * (y - row)
    return result
