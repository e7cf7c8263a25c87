"""One picture of where one query is seen: its heat map over each image, the image it was asked in first."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image, ImageDraw, ImageFont

from workers.rendering.colour_map import coloured
from workers.rendering.contact_sheet import FAINT, INK, PAPER, WELL, shortened
from workers.rendering.marks import cross, ring

Rgb = npt.NDArray[np.uint8]
Float32 = npt.NDArray[np.float32]
Box = tuple[float, float, float, float]

MOST_COLUMNS = 6
WHOLE: Box = (0.0, 0.0, 1.0, 1.0)
_MARGIN = 28
_GAP = 12
_CAPTION = 24
_HEADER = 92
_MIN_WIDTH = 320
_FRAME = 4
_BAR = (110, 12)
_DENSEST = 0.85
_STEEPNESS = 1.4
_PALER = 0.35
_LUMINANCE = (0.2126, 0.7152, 0.0722)


@dataclass(frozen=True)
class HeatTile:
    """One image and where a query is seen in it.

    Attributes:
        rgb: (H, W, 3), the image.
        heat: (h, w) in [0, 1], or None where the query was not asked; NaN counts as 0.
        point: (x, y) in pixels of the image: where the query was asked or found; None for nowhere.
        name: of the image; shortened to fit.
        peak: largest value of `heat`; None where it is not to be told.
        is_source: the query was asked in this image.
        box: x0, y0, x1, y1 of the part of the heat map that the image fills, in the unit square that the whole map
            fills: all of it where the image was stretched to a square, less where it was padded to one.
    """

    rgb: Rgb
    heat: npt.NDArray[np.floating] | None
    point: tuple[float, float] | None
    name: str
    peak: float | None
    is_source: bool = False
    box: Box = WHOLE


def heat_map_sheet(tiles: Sequence[HeatTile], *, title: str, scale: float, tile: int = 224) -> Rgb:
    """Draw one query's sheet, in rows of at most six images, with a bar that says what the colours mean.

    A white cross stands where the query was asked, a ring where it was found.

    Args:
        tiles: the images in order; the source is put first and framed.
        title: headline; shortened to fit.
        scale: value that has the brightest colour, such as the query's largest; with 0 nothing is coloured.
        tile: side of the square an image is fitted into, in pixels.

    Returns:
        (height, width, 3).
    """
    ordered = sorted(tiles, key=lambda shown: not shown.is_source)
    columns = min(max(len(ordered), 1), MOST_COLUMNS)
    rows = math.ceil(len(ordered) / columns)
    width = max(2 * _MARGIN + columns * tile + (columns - 1) * _GAP, _MIN_WIDTH)
    height = _HEADER + rows * (_CAPTION + tile + _GAP) - _GAP + _MARGIN
    sheet = Image.new("RGB", (width, height), PAPER)
    draw = ImageDraw.Draw(sheet)
    _draw_header(sheet, draw, title, scale)
    for index, shown in enumerate(ordered):
        row, column = divmod(index, columns)
        corner = (_MARGIN + column * (tile + _GAP), _HEADER + row * (_CAPTION + tile + _GAP) + _CAPTION)
        _draw_caption(draw, (corner[0], corner[1] - 8), shown, tile)
        sheet.paste(Image.fromarray(_filled_well(shown, tile, scale)), corner)
        if shown.is_source:
            _draw_frame(draw, corner, tile)
    return np.array(sheet)


def _heat_picture(shown: HeatTile, size: tuple[int, int], scale: float) -> Float32:
    """Return the image (height, width, 3) at a size (width, height): grey, with its heat in colour.

    The higher the heat, the less of the image is seen through it. Without heat the source keeps its colours.
    """
    image = Image.fromarray(shown.rgb).resize(size, Image.Resampling.LANCZOS, reducing_gap=3.0)
    canvas = np.asarray(image, dtype=np.float32)
    if shown.heat is None:
        return canvas if shown.is_source else _greyed(canvas)
    return _heated(_greyed(canvas), _fitted_heat(shown.heat, shown.box, size), scale)


def _greyed(canvas: Float32) -> Float32:
    grey = canvas @ np.asarray(_LUMINANCE, dtype=np.float32)
    return np.repeat((grey * (1 - _PALER) + 255 * _PALER)[..., None], 3, axis=2)


def _heated(canvas: Float32, heat: Float32, scale: float) -> Float32:
    share = (heat / scale).clip(0, 1) if scale > 0 else np.zeros_like(heat)
    colours = 255 * coloured(torch.from_numpy(share)).permute(1, 2, 0).numpy()
    opacity = _DENSEST * np.minimum(_STEEPNESS * share, 1)[..., None]
    return np.asarray(canvas * (1 - opacity) + colours * opacity, dtype=np.float32)


def _fitted_heat(heat: npt.NDArray[np.floating], box: Box, size: tuple[int, int]) -> Float32:
    """Cut out of a heat map what belongs to the image, at the picture's size."""
    height, width = heat.shape
    values = Image.fromarray(np.nan_to_num(heat).astype(np.float32))
    part = (box[0] * width, box[1] * height, box[2] * width, box[3] * height)
    return np.asarray(values.resize(size, Image.Resampling.BILINEAR, box=part), dtype=np.float32)


def _filled_well(shown: HeatTile, tile: int, scale: float) -> Rgb:
    """Fit an image into a square well (tile, tile, 3), centred, with its mark, which may reach over the image's rim."""
    height, width = shown.rgb.shape[:2]
    larger = tile / max(height, width)
    size = (max(1, round(width * larger)), max(1, round(height * larger)))
    left, top = (tile - size[0]) // 2, (tile - size[1]) // 2
    well = np.full((tile, tile, 3), WELL, dtype=np.float32)
    well[top : top + size[1], left : left + size[0]] = _heat_picture(shown, size, scale)
    if shown.point is not None:
        place = (left + shown.point[0] * size[0] / width, top + shown.point[1] * size[1] / height)
        mark = cross if shown.is_source else ring
        mark(well, place, min(max(0.045 * tile, 6.0), 12.0))
    pixels: Rgb = well.round().clip(0, 255).astype(np.uint8)
    return pixels


def _draw_frame(draw: ImageDraw.ImageDraw, corner: tuple[int, int], tile: int) -> None:
    """Draw the source's frame, round its well."""
    x, y = corner
    draw.rectangle(
        [(x - _FRAME, y - _FRAME), (x + tile + _FRAME - 1, y + tile + _FRAME - 1)], outline=INK, width=_FRAME
    )


def _draw_caption(draw: ImageDraw.ImageDraw, place: tuple[int, int], shown: HeatTile, width: int) -> None:
    """Write the name at `place` = (left, baseline) and the peak at the right end."""
    font = ImageFont.load_default(13)
    unasked = shown.heat is None and not shown.is_source
    remark = "not asked" if unasked else "" if shown.peak is None else f"peak {_brief(shown.peak)}"
    left = 0
    if shown.is_source:
        draw.text(place, "query", fill=INK, font=font, anchor="ls")
        left = math.ceil(draw.textlength("query", font=font)) + _GAP // 2
    draw.text((place[0] + width, place[1]), remark, fill=INK, font=font, anchor="rs")
    room = width - left - math.ceil(draw.textlength(remark, font=font)) - _GAP
    draw.text((place[0] + left, place[1]), shortened(draw, shown.name, room, font), fill=FAINT, font=font, anchor="ls")


def _draw_header(sheet: Image.Image, draw: ImageDraw.ImageDraw, title: str, scale: float) -> None:
    """Write the title, and below it a bar from no heat to the scale's."""
    font = ImageFont.load_default(24)
    headline = shortened(draw, title, sheet.width - 2 * _MARGIN, font)
    draw.text((_MARGIN, 34), headline, fill=INK, font=font, anchor="lm")
    small = ImageFont.load_default(13)
    middle = 68
    x = _MARGIN
    draw.text((x, middle), "attention  0", fill=INK, font=small, anchor="lm")
    x += math.ceil(draw.textlength("attention  0", font=small)) + _GAP // 2
    ramp = np.tile(np.linspace(0, 1, _BAR[0], dtype=np.float32), (_BAR[1], 1))
    ground = np.full((*ramp.shape, 3), 200, dtype=np.float32)
    sheet.paste(Image.fromarray(_heated(ground, ramp, 1.0).round().astype(np.uint8)), (x, middle - _BAR[1] // 2))
    x += _BAR[0] + _GAP // 2
    draw.text((x, middle), _brief(scale), fill=INK, font=small, anchor="lm")


def _brief(value: float) -> str:
    return f"{value:.3g}"
