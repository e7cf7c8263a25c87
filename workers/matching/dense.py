"""Dense correspondence maps between two feature maps, both ways, with subpixel places and confidence."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import normalize

from workers.backbones.base import Tick, no_tick
from workers.matching.nearest import Nearest, nearest_both_ways
from workers.matching.parts import Parts, grid_parts
from workers.matching.soft_argmax import Softness, soft_places
from workers.matching.subpixel import refine_matches
from workers.matching.trust import confidence, passes_ratio, return_distance

MUTUAL_CELLS = 2.0
"""How far from its start the way back may end for a match to count as mutual."""
_NO_CELL = -1


@dataclass(frozen=True)
class DenseMap:
    """Where each cell of one map lies in the other.

    Attributes:
        points: (h, w, 2) places (x, y) in the other map, [0, 1] over its whole width and height; NaN where none.
        confidence: (h, w) in [0, 1]; 0 where there is no place.
    """

    points: Tensor
    confidence: Tensor


@dataclass(frozen=True)
class MatchOptions:
    """How cells are matched.

    Attributes:
        softness: how similarities are read softly; None takes the most similar cell.
        subpixel: refine the place of the most similar cell by a parabola through the cosines.
        mutual_only: keep only cells whose way back ends within 2 cells of their start.
        ratio: keep only cells whose cosine distance is below this share of their best rival's elsewhere; None keeps
            all.
    """

    softness: Softness | None = None
    subpixel: bool = True
    mutual_only: bool = False
    ratio: float | None = None


@dataclass(frozen=True)
class _Side:
    """One of the two maps: unit features (C, h, w) and the numbers (P,) of the cells that take part, ascending."""

    map: Tensor
    chosen: Tensor

    @property
    def shape(self) -> torch.Size:
        """Rows and columns."""
        return self.map.shape[1:]

    @property
    def table(self) -> Tensor:
        """(P, C)."""
        return self.map.flatten(1).T[self.chosen]

    @property
    def parts(self) -> Parts:
        """Of the cells that take part."""
        return grid_parts(*self.shape, device=self.map.device).of(self.chosen)

    @property
    def mask(self) -> Tensor | None:
        """(h, w) bool; None if all cells take part."""
        if len(self.chosen) == self.map[0].numel():
            return None
        return self.spread(torch.ones_like(self.chosen, dtype=torch.bool), False)

    def spread(self, values: Tensor, missing: float) -> Tensor:
        """Values (P, ...) on the whole map (h, w, ...)."""
        whole = values.new_full((self.map[0].numel(), *values.shape[1:]), missing)
        whole[self.chosen] = values
        return whole.view(*self.shape, *values.shape[1:])


@dataclass(frozen=True)
class _Placed:
    """Where P cells lie in the other map: at `cells` (P, 2), (column, row), within cell number `index` (P,)."""

    cells: Tensor
    index: Tensor
    similarity: Tensor
    rival: Tensor


def match_maps(
    first: Tensor,
    second: Tensor,
    options: MatchOptions | None = None,
    *,
    first_mask: Tensor | None = None,
    second_mask: Tensor | None = None,
    tick: Tick = no_tick,
) -> tuple[DenseMap, DenseMap]:
    """Match two feature maps (C, h, w) and (C, k, l) both ways by cosine; for confidence see `trust.confidence`.

    Args:
        first: feature map.
        second: feature map with as many channels.
        options: how; the most similar cells if None.
        first_mask: (h, w) bool, the cells that take part; all if None. The others have no match and are none.
        second_mask: (k, l) bool.
        tick: called after every chunk, at least every few tenths of a second; may raise.

    Returns:
        The map from first to second, and the map from second to first.
    """
    options = options or MatchOptions()
    sides = _side(first, first_mask), _side(second, second_mask)
    if not all(len(side.chosen) for side in sides):
        return _nowhere(sides[0]), _nowhere(sides[1])
    there, back = nearest_both_ways(
        sides[0].table, sides[1].table, first_parts=sides[0].parts, second_parts=sides[1].parts, tick=tick
    )
    placed, returned = _placed(*sides, there, options, tick), _placed(*sides[::-1], back, options, tick)
    return _dense(*sides, placed, returned, options), _dense(*sides[::-1], returned, placed, options)


def _side(maps: Tensor, mask: Tensor | None) -> _Side:
    cells = torch.arange(maps[0].numel(), device=maps.device)
    return _Side(normalize(maps, dim=0), cells if mask is None else cells[mask.flatten()])


def _placed(source: _Side, target: _Side, nearest: Nearest, options: MatchOptions, tick: Tick) -> _Placed:
    rows, columns = target.shape
    table = source.table
    if options.softness is not None:
        cells = soft_places(table, target.map, options.softness, mask=target.mask, tick=tick)
        column, row = cells.round().long().unbind(dim=1)
        index = row.clamp(0, rows - 1) * columns + column.clamp(0, columns - 1)
        return _Placed(cells, index, (table * target.map.flatten(1).T[index]).sum(dim=1), nearest.rival)
    index = target.chosen[nearest.index]
    if options.subpixel:
        cells = refine_matches(table, target.map, index)
    else:
        cells = torch.stack([index % columns, index // columns], dim=1).float()
    return _Placed(cells, index, nearest.similarity, nearest.rival)


def _dense(source: _Side, target: _Side, there: _Placed, back: _Placed, options: MatchOptions) -> DenseMap:
    rows, columns = target.shape
    end = target.spread(back.index, _NO_CELL).flatten()[there.index]
    distance = return_distance(source.chosen, end, width=source.shape[1])
    kept = end != _NO_CELL
    if options.mutual_only:
        kept &= distance <= MUTUAL_CELLS
    if options.ratio is not None:
        kept &= passes_ratio(there.similarity, there.rival, options.ratio)
    points = (there.cells + 0.5) / there.cells.new_tensor([columns, rows])
    trust = confidence(there.similarity, there.rival, distance)
    return DenseMap(
        source.spread(points.masked_fill(~kept.unsqueeze(1), torch.nan), torch.nan),
        source.spread(trust.masked_fill(~kept, 0.0), 0.0),
    )


def _nowhere(source: _Side) -> DenseMap:
    nothing = source.map.new_zeros(source.shape)
    return DenseMap(nothing.unsqueeze(2).expand(-1, -1, 2) + torch.nan, nothing)
