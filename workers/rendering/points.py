"""A picture with points on it: the same point has the same colour and number in every image."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw, ImageFont

from workers.rendering.contact_sheet import INK, PAPER
from workers.rendering.marks import disc
from workers.rendering.oklab import rgb_of_lab, vivid

Rgb = npt.NDArray[np.uint8]
Floats = npt.NDArray[np.floating]
Box = tuple[float, float, float, float]

MOST_NUMBERED = 40
MOST_ENLARGED = 2.0
_CHROMA = 0.19
_FIRST_HUE = math.radians(25)
_GOLDEN = (3 - math.sqrt(5)) / 2
_LIGHTNESSES = (0.72, 0.58, 0.83)
_ONE_LIGHTNESS_UP_TO = 8
_CORNER_HUES = np.radians([25.0, 100.0, 265.0, 150.0])
_CORNER_LIGHTNESSES = np.array([0.62, 0.88, 0.52, 0.74])
_MOST_HIDDEN = 0.25
_NEAR = 0.5
_AROUND = ((1, 0), (-1, 0), (0, -1), (0, 1), (1, -1), (1, 1), (-1, -1), (-1, 1))


def point_colours(count: int) -> Rgb:
    """Return the colours (count, 3) of points 0 to count - 1.

    Hues lie evenly round OKLab's circle, and numbers that follow each other far apart on it; above eight, neighbouring
    hues differ in lightness too. The same count gives the same colours.
    """
    if count == 0:
        return np.zeros((0, 3), dtype=np.uint8)
    slots = np.arange(count) * _stride(count) % count
    steps = len(_LIGHTNESSES) if count > _ONE_LIGHTNESS_UP_TO else 1
    lightness = np.array(_LIGHTNESSES)[slots % steps]
    return rgb_of_lab(vivid(_FIRST_HUE + 2 * np.pi * slots / count, lightness, _CHROMA))


def grid_colours(points: Floats, extent: tuple[float, float]) -> Rgb:
    """Return colours (P, 3) of points (P, 2) by where they lie in a frame of the given width and height.

    Red, yellow, blue and green in the corners (first row first), blended evenly in OKLab. What lies outside has the
    nearest border's colour, and NaN the middle's.
    """
    share = np.nan_to_num(np.asarray(points, dtype=np.float64) / extent, nan=0.5).clip(0, 1)
    x, y = share[:, :1], share[:, 1:]
    weights = np.concatenate([(1 - x) * (1 - y), x * (1 - y), (1 - x) * y, x * y], axis=1)
    return rgb_of_lab(weights @ vivid(_CORNER_HUES, _CORNER_LIGHTNESSES, _CHROMA))


def points_picture(
    rgb: Rgb,
    points: Floats,
    confidence: Floats,
    *,
    numbers: Sequence[int],
    labels: Sequence[str] | None = None,
    colours: Rgb | None = None,
    side: int = 512,
) -> Rgb:
    """Draw points as discs, with their numbers where there are at most 40, found or not; else they are smaller.

    A number that would hide others, as in a small picture, is left out.

    Args:
        rgb: (H, W, 3).
        points: (P, 2) pixels (x, y) of `rgb`; NaN where a point was not found.
        confidence: (P,) in [0, 1]; where it is low the disc is hollow. NaN counts as 0.
        numbers: (P,) from 0, of the points; they choose the colours.
        labels: (P,) what stands beside the points; the numbers if None.
        colours: (P, 3); those of `numbers` if None.
        side: longer side of what is returned, in pixels; small images are enlarged to twice their size at most.

    Returns:
        (h, w, 3).
    """
    count = len(points)
    shades = point_colours(max(numbers, default=-1) + 1)[list(numbers)] if colours is None else colours
    texts = [str(number) for number in numbers] if labels is None else list(labels)
    picture, scale = _resized(rgb, side)
    canvas = np.asarray(picture, dtype=np.float32).copy()
    places = np.asarray(points, dtype=np.float64).reshape(count, 2) * scale
    sure = np.nan_to_num(np.asarray(confidence, dtype=np.float64)).clip(0, 1)
    radius = _radius(picture.size, count)
    shown = [index for index in np.argsort(sure, kind="stable") if _on_picture(places[index], picture.size)]
    for index in shown:
        disc(canvas, (places[index, 0], places[index, 1]), radius, shades[index].tolist(), float(sure[index]))
    drawn = Image.fromarray(canvas.round().clip(0, 255).astype(np.uint8))
    if count <= MOST_NUMBERED:
        _write_labels(drawn, [(texts[index], places[index]) for index in sorted(shown)], radius)
    return np.array(drawn)


def _stride(count: int) -> int:
    """Slots between a number and the next: near the golden section of all, so that every slot is met once."""
    wanted = _GOLDEN * count
    return min((step for step in range(1, count + 1) if math.gcd(step, count) == 1), key=lambda s: abs(s - wanted))


def _resized(rgb: Rgb, side: int) -> tuple[Image.Image, npt.NDArray[np.float64]]:
    """Return the picture and the scales of x and y."""
    picture = Image.fromarray(rgb)
    scale = min(side / max(picture.size), MOST_ENLARGED)
    size = (max(1, round(picture.width * scale)), max(1, round(picture.height * scale)))
    scales = np.divide(size, picture.size)
    return picture.resize(size, Image.Resampling.LANCZOS, reducing_gap=3.0), scales


def _radius(size: tuple[int, int], count: int) -> float:
    """Of the discs, in pixels: in proportion to the picture, and less where many points share it."""
    wanted = min(max(0.016 * max(size), 4.5), 9.0)
    if count <= MOST_NUMBERED:
        return wanted
    share = 0.36 * math.sqrt(size[0] * size[1] / count)
    return min(max(share, 1.5), 0.75 * wanted)


def _on_picture(place: npt.NDArray[np.float64], size: tuple[int, int]) -> bool:
    return bool((place >= 0).all() and (place <= size).all())


def _write_labels(picture: Image.Image, labels: Sequence[tuple[str, npt.NDArray[np.float64]]], radius: float) -> None:
    """Write each label beside its point, where it hides least of the others; what finds no room is left out."""
    draw = ImageDraw.Draw(picture)
    size = min(max(10.0, 2.1 * radius), 17.0)
    font = ImageFont.load_default(size)
    outline = 1 if size < 13 else 2
    taken: list[Box] = [(x - radius, y - radius, x + radius, y + radius) for _, (x, y) in labels]
    for text, place in labels:
        left, top, right, bottom = draw.textbbox((0, 0), text, font=font, stroke_width=outline)
        boxes = _beside((place[0], place[1]), (right - left, bottom - top), radius)
        box = min(boxes, key=lambda box: _hidden(box, taken, picture.size))
        if _hidden(box, taken, picture.size) > _MOST_HIDDEN * (right - left) * (bottom - top):
            continue
        taken.append(box)
        corner = (box[0] - left, box[1] - top)
        draw.text(corner, text, fill=INK, font=font, stroke_width=outline, stroke_fill=PAPER)


def _beside(place: tuple[float, float], size: tuple[float, float], radius: float) -> list[Box]:
    """Return the boxes of a given size at eight places round a point."""
    boxes = []
    for right, down in _AROUND:
        away = (radius if right == 0 or down == 0 else 0.7 * radius) + _NEAR
        x = place[0] + right * (away + size[0] / 2)
        y = place[1] + down * (away + size[1] / 2)
        boxes.append((x - size[0] / 2, y - size[1] / 2, x + size[0] / 2, y + size[1] / 2))
    return boxes


def _hidden(box: Box, taken: Sequence[Box], size: tuple[int, int]) -> float:
    """Area (pixels) in which a box lies over others, or outside the picture."""
    inside = _common(box, (0, 0, size[0], size[1]))
    outside = (box[2] - box[0]) * (box[3] - box[1]) - inside
    return outside + sum(_common(box, other) for other in taken)


def _common(one: Box, other: Box) -> float:
    width = min(one[2], other[2]) - max(one[0], other[0])
    height = min(one[3], other[3]) - max(one[1], other[1])
    return max(width, 0.0) * max(height, 0.0)
