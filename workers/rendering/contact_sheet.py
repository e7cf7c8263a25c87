"""One picture of the whole result: the originals, below each how it looks aligned, and a large picture beside them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw, ImageFont

Rgb = npt.NDArray[np.uint8]

PAPER = (250, 250, 248)
INK = (34, 38, 44)
FAINT = (120, 126, 134)
WELL = (232, 233, 231)
ALARM = (204, 36, 29)
TILE_GREY = 0.91
_MARGIN = 28
_GAP = 8
_BAND_GAP = 26
_CAPTION = 22
_HEADER = 64
_SIDE_LABEL = 26
_MIN_PANEL = 360
_FRAME = 4


@dataclass(frozen=True)
class Tile:
    """One image of the sheet: picture (H, W, 3) as uploaded, the same in the common frame, and what is said of it."""

    original: Rgb
    aligned: Rgb
    name: str
    mirrored: bool = False
    outlier: bool = False

    @property
    def remarks(self) -> str:
        """What stands beside its number."""
        return ", ".join(word for word, holds in (("outlier", self.outlier), ("mirrored", self.mirrored)) if holds)


@dataclass(frozen=True)
class Layout:
    """How many pictures stand side by side, in how many bands, and how large (pixels)."""

    columns: int
    bands: int
    tile: int

    @property
    def band_height(self) -> int:
        """A caption and two rows of pictures."""
        return _CAPTION + 2 * self.tile + _GAP

    @property
    def panel(self) -> int:
        """Side of the large picture."""
        two_rows = 2 * self.tile + _GAP
        return max(two_rows, _MIN_PANEL) if self.bands > 1 else two_rows

    @property
    def width(self) -> int:
        """Of the whole sheet."""
        grid = self.columns * self.tile + (self.columns - 1) * _GAP
        return _MARGIN + _SIDE_LABEL + grid + _MARGIN + self.panel + _MARGIN

    @property
    def height(self) -> int:
        """Of the whole sheet."""
        return _HEADER + self.bands * self.band_height + (self.bands - 1) * _BAND_GAP + _MARGIN

    def corner(self, index: int) -> tuple[int, int]:
        """Top-left corner (x, y) of picture `index`'s upper tile."""
        band, column = divmod(index, self.columns)
        x = _MARGIN + _SIDE_LABEL + column * (self.tile + _GAP)
        return x, _HEADER + band * (self.band_height + _BAND_GAP) + _CAPTION


def layout(count: int) -> Layout:
    """Choose columns and tile size so that a sheet of `count` pictures is wide rather than tall."""
    columns = min(count, max(4, math.ceil(math.sqrt(2.4 * count))))
    bands = math.ceil(count / columns)
    columns = math.ceil(count / bands)
    tile = 176 if count <= 16 else 144 if count <= 30 else 116
    return Layout(columns, bands, tile)


def contact_sheet(
    tiles: Sequence[Tile], panel: Rgb, *, title: str, aligned_label: str, panel_label: str | None = None
) -> Rgb:
    """Draw the sheet. Outliers stand in a red frame; they and mirrored images are called so.

    Args:
        tiles: the images in order; names are shortened to fit.
        panel: the large picture (H, W, 3) at the right: the mean of the aligned images, outliers left out.
        title: headline.
        aligned_label: what the lower rows show, one word.
        panel_label: what `panel` shows, where it is not that mean.

    Returns:
        (H, W, 3).
    """
    plan = layout(len(tiles))
    sheet = Image.new("RGB", (plan.width, plan.height), PAPER)
    draw = ImageDraw.Draw(sheet)
    font = ImageFont.load_default(24)
    headline = shortened(draw, title, plan.width - 2 * _MARGIN, font)
    draw.text((_MARGIN, _HEADER / 2 + 2), headline, fill=INK, font=font, anchor="lm")
    _draw_row_labels(sheet, plan, aligned_label)
    for index, tile in enumerate(tiles):
        x, y = plan.corner(index)
        _draw_caption(draw, (x, y - 6), f"{index + 1}  {tile.name}", tile, plan.tile)
        for row, picture in enumerate((tile.original, tile.aligned)):
            _place(sheet, picture, (x, y + row * (plan.tile + _GAP)), plan.tile)
        if tile.outlier:
            corners = [(x, y), (x + plan.tile - 1, y + 2 * plan.tile + _GAP - 1)]
            draw.rectangle(corners, outline=ALARM, width=_FRAME)
    _draw_panel(sheet, draw, plan, panel, panel_label or _average_label(tiles))
    return np.array(sheet)


def _average_label(tiles: Sequence[Tile]) -> str:
    outliers = sum(tile.outlier for tile in tiles)
    if outliers in (0, len(tiles)):
        return "average of all"
    return "average without " + ("the outlier" if outliers == 1 else f"the {outliers} outliers")


def _draw_caption(draw: ImageDraw.ImageDraw, place: tuple[int, int], label: str, tile: Tile, width: int) -> None:
    """Write a label that ends at `place` = (left, baseline), remarks at its right end."""
    font = ImageFont.load_default(13)
    room = width
    if tile.remarks:
        colour = ALARM if tile.outlier else INK
        draw.text((place[0] + width, place[1]), tile.remarks, fill=colour, font=font, anchor="rs")
        room -= math.ceil(draw.textlength(tile.remarks, font=font)) + _GAP
    draw.text(place, shortened(draw, label, room, font), fill=FAINT, font=font, anchor="ls")


def _draw_panel(sheet: Image.Image, draw: ImageDraw.ImageDraw, plan: Layout, panel: Rgb, label: str) -> None:
    x = plan.width - _MARGIN - plan.panel
    y = _HEADER + _CAPTION
    font = ImageFont.load_default(14)
    draw.text((x, y - 6), shortened(draw, label, plan.panel, font), fill=INK, font=font, anchor="ls")
    _place(sheet, panel, (x, y), plan.panel)


def _draw_row_labels(sheet: Image.Image, plan: Layout, aligned_label: str) -> None:
    for band in range(plan.bands):
        _, y = plan.corner(band * plan.columns)
        for row, text in enumerate(("original", aligned_label)):
            centre = y + row * (plan.tile + _GAP) + plan.tile // 2
            _draw_upright(sheet, text, (_MARGIN, centre))


def _draw_upright(sheet: Image.Image, text: str, place: tuple[int, int]) -> None:
    """Write from bottom to top, centred at `place` = (left, middle)."""
    font = ImageFont.load_default(14)
    left, top, right, bottom = font.getbbox(text)
    strip = Image.new("RGB", (math.ceil(right - left) + 2, math.ceil(bottom - top) + 4), PAPER)
    ImageDraw.Draw(strip).text((1 - left, 2 - top), text, fill=INK, font=font)
    strip = strip.rotate(90, expand=True)
    sheet.paste(strip, (place[0], place[1] - strip.height // 2))


def _place(sheet: Image.Image, rgb: Rgb, corner: tuple[int, int], tile: int) -> None:
    """Fit a picture into a square well, centred."""
    picture = Image.fromarray(rgb)
    scale = tile / max(picture.size)
    size = (max(1, round(picture.width * scale)), max(1, round(picture.height * scale)))
    picture = picture.resize(size, Image.Resampling.LANCZOS, reducing_gap=3.0)
    sheet.paste(WELL, (corner[0], corner[1], corner[0] + tile, corner[1] + tile))
    sheet.paste(picture, (corner[0] + (tile - size[0]) // 2, corner[1] + (tile - size[1]) // 2))


def shortened(
    draw: ImageDraw.ImageDraw, text: str, width: int, font: ImageFont.FreeTypeFont | ImageFont.ImageFont
) -> str:
    """Cut a text in its middle until it is `width` pixels wide, so that its beginning and its end can be read."""
    if draw.textlength(text, font=font) <= width:
        return text
    kept = len(text) - 1
    while kept > 4:
        kept -= 1
        cut = f"{text[: math.ceil(kept * 0.6)]}…{text[-(kept // 2 - kept // 10) :]}"
        if draw.textlength(cut, font=font) <= width:
            return cut
    return text[:4]
