"""Dense correspondence maps between two feature maps, both ways, with subpixel places and confidence."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import normalize

from workers.matching.nearest import Matches, confidence, refine_matches

_CHUNK_ELEMENTS = 1 << 22
_RIVAL_BLOCKS = 8
_MARGIN_TEMPERATURE = 0.05


@dataclass(frozen=True)
class DenseMap:
    """Where each cell of one map lies in the other.

    Attributes:
        points: (h, w, 2) places (x, y) in the other map, [0, 1] over its whole width and height.
        confidence: (h, w) in [0, 1].
    """

    points: Tensor
    confidence: Tensor


@dataclass(frozen=True)
class Nearest:
    """For each of P cells the most similar of Q others, its cosine, and that of the best rival elsewhere."""

    index: Tensor
    similarity: Tensor
    rival: Tensor


def _no_tick() -> None:
    """Do nothing."""


def match_maps(
    first: Tensor, second: Tensor, *, subpixel: bool = True, tick: Callable[[], None] = _no_tick
) -> tuple[DenseMap, DenseMap]:
    """Match two feature maps (C, h, w) and (C, k, l) both ways by cosine.

    Confidence is the product of the cosine, of how close the way back comes to its start (mutual neighbours lose
    nothing), and of how clearly the match beats its best rival elsewhere in the other map (a tie halves it).

    Args:
        first: feature map.
        second: feature map with as many channels.
        subpixel: refine places between cells by a parabola through the cosines.
        tick: called after every chunk, at least every few tenths of a second; may raise.

    Returns:
        The map from first to second, and the map from second to first.
    """
    table_first, table_second = (normalize(maps.flatten(1), dim=0).T.contiguous() for maps in (first, second))
    there = nearest_with_rival(table_first, table_second, width=second.shape[2], tick=tick)
    back = nearest_with_rival(table_second, table_first, width=first.shape[2], tick=tick)
    return (
        _dense(first, second, table_first, there, back, subpixel=subpixel),
        _dense(second, first, table_second, back, there, subpixel=subpixel),
    )


def nearest_with_rival(first: Tensor, second: Tensor, *, width: int, tick: Callable[[], None] = _no_tick) -> Nearest:
    """Find the nearest of unit vectors (Q, C) for each of (P, C), in chunks; never holds the P x Q matrix.

    Args:
        first: (P, C) unit vectors.
        second: (Q, C) unit vectors of a row-major grid.
        width: columns of that grid.
        tick: called after every chunk.

    Returns:
        The rival is the best in another part of the grid: parts are an 8 x 8 partition, and those that touch the
        winner's part do not count. -1 where there is no other part.
    """
    block = _block_of_cells(len(second) // width, width, device=second.device)
    near = _touching(int(block.max()) + 1)
    order = torch.argsort(block, stable=True)
    sizes = torch.bincount(block, minlength=len(near)).tolist()
    chunk = max(1, _CHUNK_ELEMENTS // len(second))
    results = []
    for begin in range(0, len(first), chunk):
        cosine = first[begin : begin + chunk] @ second[order].T
        best = torch.stack([part.max(dim=1).values for part in torch.split(cosine, sizes, dim=1)], dim=1)
        similarity, index = cosine.max(dim=1)
        index = order[index]
        rival = best.masked_fill(near.to(best.device)[block[index]], -1.0).max(dim=1).values
        results.append((index, similarity, rival))
        tick()
    index, similarity, rival = (torch.cat(parts) for parts in zip(*results, strict=True))
    return Nearest(index, similarity, rival)


def _dense(source: Tensor, target: Tensor, table: Tensor, there: Nearest, back: Nearest, *, subpixel: bool) -> DenseMap:
    (height, width), (rows, columns) = source.shape[1:], target.shape[1:]
    if subpixel:
        cells = refine_matches(table, target, there.index)
    else:
        cells = torch.stack([there.index % columns, there.index // columns], dim=1).float()
    points = (cells + 0.5) / cells.new_tensor([columns, rows])
    trust = confidence(Matches(there.index, there.similarity, back.index[there.index]), width=width)
    trust = trust * torch.sigmoid((there.similarity - there.rival) / _MARGIN_TEMPERATURE)
    return DenseMap(points.reshape(height, width, 2), trust.reshape(height, width))


def _block_of_cells(height: int, width: int, *, device: torch.device) -> Tensor:
    """Part (height * width,) of an 8 x 8 partition, row-major, in which each cell lies."""
    rows = torch.arange(height, device=device) * _RIVAL_BLOCKS // max(height, _RIVAL_BLOCKS)
    columns = torch.arange(width, device=device) * _RIVAL_BLOCKS // max(width, _RIVAL_BLOCKS)
    return (rows.unsqueeze(1) * _RIVAL_BLOCKS + columns).flatten()


def _touching(parts: int) -> Tensor:
    """Which parts (parts, parts) of the partition are the same or touch."""
    number = torch.arange(parts)
    row, column = number // _RIVAL_BLOCKS, number % _RIVAL_BLOCKS
    gap = torch.maximum((row[:, None] - row).abs(), (column[:, None] - column).abs())
    return gap <= 1
