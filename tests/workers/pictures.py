"""Pictures of one made-up thing, quickly made, for tests of the machinery."""

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw

SIDE = 160


def shifted_pictures(count: int, *, side: int = SIDE) -> list[npt.NDArray[np.uint8]]:
    """The same shapes, each time shifted, turned and scaled a little, on a smooth ground."""
    return [_picture(side, shift=7 * index, scale=1 + 0.05 * index, turn=6.0 * index) for index in range(count)]


def _picture(side: int, *, shift: int, scale: float, turn: float) -> npt.NDArray[np.uint8]:
    drawn = Image.new("RGB", (side, side), (90, 120, 160))
    pen = ImageDraw.Draw(drawn)
    reach = int(0.28 * side * scale)
    x, y = side // 2 + shift - 10, side // 2 - shift // 2
    pen.ellipse((x - reach, y - reach // 2, x + reach, y + reach // 2), fill=(200, 140, 40))
    pen.rectangle((x - reach, y - 4, x - reach // 3, y + 4), fill=(40, 40, 60))
    pen.polygon(((x + reach, y), (x + reach + 18, y - 16), (x + reach + 18, y + 16)), fill=(180, 40, 50))
    pen.ellipse((x + reach // 3, y - 8, x + reach // 3 + 10, y + 2), fill=(250, 250, 250))
    return np.asarray(drawn.rotate(turn, resample=Image.Resampling.BICUBIC, fillcolor=(90, 120, 160)))
