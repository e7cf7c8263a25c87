"""Dense correspondence maps between two feature maps, both ways, with subpixel places and confidence."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import normalize

from workers.backbones.base import Tick, no_tick
from workers.matching.nearest import Nearest, nearest_both_ways
from workers.matching.parts import grid_parts
from workers.matching.soft_argmax import Softness, soft_places
from workers.matching.subpixel import refine_matches
from workers.matching.trust import confidence, passes_ratio, return_distance

MUTUAL_CELLS = 2.0
"""How far from its start the way back may end for a match to count as mutual."""


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
        ratio: keep only cells whose cosine distance is below this share of their best rival's elsewhere; None keeps all.
    """

    softness: Softness | None = None
    subpixel: bool = True
    mutual_only: bool = False
    ratio: float | None = None


@dataclass(frozen=True)
class _Placed:
    """Where P cells lie in the other map: at `cells` (P, 2), (column, row), within cell number `index` (P,)."""

    cells: Tensor
    index: Tensor
    similarity: Tensor
    rival: Tensor


def match_maps(
    first: Tensor, second: Tensor, options: MatchOptions | None = None, *, tick: Tick = no_tick
) -> tuple[DenseMap, DenseMap]:
    """Match two feature maps (C, h, w) and (C, k, l) both ways by cosine.

    Args:
        first: feature map.
        second: feature map with as many channels.
        options: how; the most similar cells if None.
        tick: called after every chunk, at least every few tenths of a second; may raise.

    Returns:
        The map from first to second, and the map from second to first.
    """
    options = options or MatchOptions()
    first, second = normalize(first, dim=0), normalize(second, dim=0)
    there, back = nearest_both_ways(
        _table(first),
        _table(second),
        first_parts=grid_parts(*first.shape[1:], device=first.device),
        second_parts=grid_parts(*second.shape[1:], device=second.device),
        tick=tick,
    )
    placed, returned = _placed(first, second, there, options, tick), _placed(second, first, back, options, tick)
    return _dense(first, second, placed, returned, options), _dense(second, first, returned, placed, options)


def _table(maps: Tensor) -> Tensor:
    return maps.flatten(1).T.contiguous()


def _placed(source: Tensor, target: Tensor, nearest: Nearest, options: MatchOptions, tick: Tick) -> _Placed:
    rows, columns = target.shape[1:]
    table = _table(source)
    if options.softness is not None:
        cells = soft_places(table, target, options.softness, tick=tick)
        column, row = cells.round().long().unbind(dim=1)
        index = row.clamp(0, rows - 1) * columns + column.clamp(0, columns - 1)
        return _Placed(cells, index, (table * _table(target)[index]).sum(dim=1), nearest.rival)
    index = nearest.index
    if options.subpixel:
        cells = refine_matches(table, target, index)
    else:
        cells = torch.stack([index % columns, index // columns], dim=1).float()
    return _Placed(cells, index, nearest.similarity, nearest.rival)


def _dense(source: Tensor, target: Tensor, there: _Placed, back: _Placed, options: MatchOptions) -> DenseMap:
    (height, width), (rows, columns) = source.shape[1:], target.shape[1:]
    distance = return_distance(back.index[there.index], width=width)
    kept = torch.ones_like(distance, dtype=torch.bool)
    if options.mutual_only:
        kept &= distance <= MUTUAL_CELLS
    if options.ratio is not None:
        kept &= passes_ratio(there.similarity, there.rival, options.ratio)
    points = (there.cells + 0.5) / there.cells.new_tensor([columns, rows])
    trust = confidence(there.similarity, there.rival, distance)
    return DenseMap(
        points.masked_fill(~kept.unsqueeze(1), torch.nan).reshape(height, width, 2),
        trust.masked_fill(~kept, 0.0).reshape(height, width),
    )
