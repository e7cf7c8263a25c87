"""Small pictures as files."""

import io
from typing import Any

import numpy as np
from PIL import Image, ImageDraw


def encoded(picture: Image.Image, file_format: str = "PNG", **options: Any) -> bytes:
    """Return a picture as the bytes of a file."""
    stream = io.BytesIO()
    picture.save(stream, file_format, **options)
    return stream.getvalue()


def plain(colour: str | tuple[int, int, int], size: tuple[int, int] = (64, 48)) -> Image.Image:
    """Return a picture of one colour."""
    return Image.new("RGB", size, colour)


def noise(seed: int, size: tuple[int, int] = (64, 48)) -> Image.Image:
    """Return a picture that no format compresses well."""
    values = np.random.default_rng(seed).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
    return Image.fromarray(values)


def png(seed: int = 0, size: tuple[int, int] = (64, 48)) -> bytes:
    """Return a noisy PNG file."""
    return encoded(noise(seed, size))


def marked(size: tuple[int, int] = (40, 20)) -> Image.Image:
    """Return a white picture with a red block in its top-left corner, to tell its orientation."""
    picture = plain("white", size)
    picture.paste((255, 0, 0), (0, 0, size[0] // 4, size[1] // 4))
    return picture


def disc(size: tuple[int, int] = (64, 48), *, level: int = 255) -> Image.Image:
    """Return a mask: a disc of this grey on black."""
    picture = plain("black", size)
    ImageDraw.Draw(picture).circle((size[0] / 2, size[1] / 2), min(size) / 3, fill=(level,) * 3)
    return picture
