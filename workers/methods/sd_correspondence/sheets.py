"""What was found, as pictures."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from workers.methods.sd_correspondence.matches import Matches
from workers.methods.sd_correspondence.squares import Square
from workers.methods.sd_correspondence.work import Work
from workers.rendering.heat_maps import HeatTile, heat_map_sheet
from workers.rendering.points import grid_colours, point_colours, points_picture

MAX_SHEETS = 32
"""Queries that get a sheet of their own; the heat maps of all are stored as numbers."""
Rgb = npt.NDArray[np.uint8]


def heat_sheets(work: Work, matches: Matches) -> dict[str, Rgb]:
    """A sheet for each of the first queries, by artifact name: its heat map on every image in which it was sought."""
    return {f"pictures/heat_maps/{query:03d}": _sheet(work, matches, query) for query in _shown(matches)}


def points_pictures(work: Work, matches: Matches) -> list[Rgb]:
    """Each image with the points asked of it and found in it."""
    if work.params.grid is None:
        colours = point_colours(len(matches.queries))
    else:
        source = work.images[work.params.grid.image]
        places = np.array([(query.x, query.y) for query in matches.queries])
        colours = grid_colours(places, (source.width, source.height))
    return [_points_picture(work, matches, image, colours) for image in range(len(work.images))]


def _points_picture(work: Work, matches: Matches, image: int, colours: Rgb) -> Rgb:
    numbers = [index for index in range(len(matches.queries)) if (index, image) in matches.there]
    points, confidence = np.zeros((len(numbers), 2)), np.ones(len(numbers))
    for row, number in enumerate(numbers):
        query, match = matches.queries[number], matches.there[number, image]
        is_own = query.image == image
        points[row] = (query.x, query.y) if is_own else match.place(soft=matches.soft)
        confidence[row] = 1.0 if is_own else matches.confidence(number, match.peak)
    return points_picture(
        work.images[image].rgb,
        points,
        confidence,
        numbers=[number + 1 for number in numbers],
        colours=colours[numbers],
    )


def _shown(matches: Matches) -> range:
    return range(min(MAX_SHEETS, len(matches.queries)))


def _sheet(work: Work, matches: Matches, number: int) -> Rgb:
    query = matches.queries[number]
    sought = [image for index, image in sorted(matches.there) if index == number]
    tiles = [_tile(work, matches, number, image) for image in sorted(sought, key=lambda image: image != query.image)]
    scale = max((tile.peak for tile in tiles if tile.peak is not None and np.isfinite(tile.peak)), default=0.0)
    name = f" ({query.id})" if query.id else ""
    return heat_map_sheet(tiles, title=f"Point {number + 1}{name} of {work.images[query.image].name}", scale=scale)


def _tile(work: Work, matches: Matches, number: int, image: int) -> HeatTile:
    query, match = matches.queries[number], matches.there[number, image]
    is_own = query.image == image
    place = (query.x, query.y) if is_own else match.place(soft=matches.soft)
    return HeatTile(
        rgb=work.images[image].rgb,
        heat=match.heat.numpy(),
        point=place if np.isfinite(place).all() else None,
        name=work.images[image].name,
        peak=match.peak if np.isfinite(match.peak) else None,
        is_source=is_own,
        box=_shown_part(work.search.pictures.squares[image]),
    )


def _shown_part(square: Square) -> tuple[float, float, float, float]:
    """The part (x0, y0, x1, y1) of the unit square that the image fills."""
    x, y, width, height = square.box
    return x / square.size, y / square.size, (x + width) / square.size, (y + height) / square.size
