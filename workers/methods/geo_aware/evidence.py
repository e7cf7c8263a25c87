"""Where places of one image lie in another, and what speaks for it, from one pass over their similarities.

Places are read by window soft-argmax (Telling Left from Right, arXiv 2311.17034); the evidence is the project's own.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, fields

import torch
from torch import Tensor
from torch.nn.functional import softmax

from workers.backbones.base import Tick, no_tick
from workers.matching.chunks import chunk_rows
from workers.matching.nearest import NO_SIMILARITY
from workers.matching.soft_argmax import Softness, expected_cells
from workers.matching.trust import confidence, return_distance

RIVAL_CELLS = 5
"""Half width in cells of the square round the peak that evidence is read in where the softness has none."""
HELD = 1 << 24
"""So many similarities of two maps, 64 MiB in float32, are held to be read both ways; more are computed twice."""


@dataclass(frozen=True)
class Places:
    """Where P queries lie in a map.

    Attributes:
        cells: (P, 2) expected positions (column, row), whole at cell centres.
        index: (P,) number of the most similar cell, row-major.
        peak: (P,) its cosine.
        margin: (P,) by how much that exceeds the highest cosine outside the square round it; -1 counts without such.
        entropy: (P,) of the softmax over the cells of the square, in [0, 1]: 0 one cell has all, 1 all have the same.
    """

    cells: Tensor
    index: Tensor
    peak: Tensor
    margin: Tensor
    entropy: Tensor


@dataclass(frozen=True)
class Evidence:
    """What speaks for matches, each (P,) or (h, w); see `Places`.

    Attributes:
        peak: cosine.
        margin: over the best rival.
        entropy: in [0, 1].
        cycle: distance in cells between the start and the cell to which the most similar cell's own leads back.
    """

    peak: Tensor
    margin: Tensor
    entropy: Tensor
    cycle: Tensor


@dataclass(frozen=True)
class SideMaps(Evidence):
    """Where each cell (h, w) of one map lies in another, and what speaks for it.

    Where there is no place, peak, margin, entropy and confidence are 0, cycle and points NaN.

    Attributes:
        points: (h, w, 2) places (x, y) in the other map, [0, 1] over its whole width and height.
        confidence: (h, w) in [0, 1], see `workers.matching.trust.confidence`.
    """

    points: Tensor
    confidence: Tensor


@torch.no_grad()
def read_places(
    queries: Tensor, targets: Tensor, softness: Softness, *, target_mask: Tensor | None = None, tick: Tick = no_tick
) -> Places:
    """Read where queries lie in a map; `cells` are those of `soft_places`.

    Args:
        queries: (P, C) unit vectors.
        targets: (C, h, w) unit vectors.
        softness: how similarities are read. Its window, or 5 cells without, also bounds what the evidence calls near.
        target_mask: (h, w) bool, the cells where anything may be found, at least one; all if None.
        tick: called after every chunk.
    """
    grid = _Grid.of(targets, target_mask)
    table = targets.flatten(1)[:, grid.chosen]
    blocks = torch.split(queries, chunk_rows(grid.height * grid.width))
    return _joined([_read(grid.spread(block @ table), grid, softness) for block in _ticking(blocks, tick)], queries)


@torch.no_grad()
def pair_maps(
    source: Tensor,
    target: Tensor,
    softness: Softness,
    *,
    source_mask: Tensor | None = None,
    target_mask: Tensor | None = None,
    tick: Tick = no_tick,
) -> tuple[SideMaps, SideMaps]:
    """Where the cells of two maps lie in each other; the similarities of maps of common size are computed once.

    Args:
        source: (C, h, w) unit vectors.
        target: (C, k, l) unit vectors.
        softness: how similarities are read; see `read_places`.
        source_mask: (h, w) bool, the cells that take part; all if None. The others have no place and are none.
        target_mask: (k, l) bool.
        tick: called after every chunk.

    Returns:
        Of the source's cells in the target, and of the target's in the source.
    """
    here, there = _Grid.of(source, source_mask), _Grid.of(target, target_mask)
    if not len(here.chosen) or not len(there.chosen):
        return _nowhere(source), _nowhere(target)
    similarity = _Similarities(source.flatten(1)[:, here.chosen], target.flatten(1)[:, there.chosen])
    forth = _sought(similarity.rows, len(here.chosen), there, softness, source, tick)
    back = _sought(similarity.columns, len(there.chosen), here, softness, target, tick)
    return _side(here, there, forth, back), _side(there, here, back, forth)


@dataclass(frozen=True)
class _Grid:
    """A map's size, and the numbers (P,) of its cells that take part, ascending."""

    height: int
    width: int
    chosen: Tensor

    @classmethod
    def of(cls, maps: Tensor, mask: Tensor | None) -> _Grid:
        cells = torch.arange(maps[0].numel(), device=maps.device)
        return cls(maps.shape[1], maps.shape[2], cells if mask is None else cells[mask.flatten()])

    def spread(self, values: Tensor, missing: float = -torch.inf) -> Tensor:
        """Values (..., P) on all cells (..., height * width)."""
        if len(self.chosen) == self.height * self.width:
            return values
        whole = values.new_full((*values.shape[:-1], self.height * self.width), missing)
        return whole.index_copy_(-1, self.chosen, values)


class _Similarities:
    """The products of two tables (C, P) and (C, Q), by rows and by columns."""

    def __init__(self, first: Tensor, second: Tensor) -> None:
        self._first, self._second = first, second
        few = first.shape[1] * second.shape[1] <= HELD
        self._held = first.new_empty(first.shape[1], second.shape[1]) if few else None

    def rows(self, block: Tensor) -> Tensor:
        """Rows (B, Q) by their numbers (B,), consecutive; to be asked for before any columns."""
        product = self._first[:, block].T @ self._second
        if self._held is not None:
            self._held[block] = product
        return product

    def columns(self, block: Tensor) -> Tensor:
        """Columns, as (B, P)."""
        if self._held is not None:
            return self._held[:, block].T.contiguous()
        return self._second[:, block].T @ self._first


def _sought(
    similarity: Callable[[Tensor], Tensor], count: int, grid: _Grid, softness: Softness, like: Tensor, tick: Tick
) -> Places:
    blocks = torch.split(torch.arange(count, device=like.device), chunk_rows(grid.height * grid.width))
    return _joined([_read(grid.spread(similarity(block)), grid, softness) for block in _ticking(blocks, tick)], like)


def _ticking(blocks: tuple[Tensor, ...], tick: Tick) -> Iterator[Tensor]:
    for block in blocks:
        yield block
        tick()


def _joined(parts: list[Places], like: Tensor) -> Places:
    if not parts or not sum(len(part.index) for part in parts):
        nothing = like.new_zeros(0)
        return Places(like.new_zeros(0, 2), nothing.long(), nothing, nothing, nothing)
    return Places(*(torch.cat([getattr(part, field.name) for part in parts]) for field in fields(Places)))


def _read(similarity: Tensor, grid: _Grid, softness: Softness) -> Places:
    """Read rows (P, height * width), minus infinity where nothing may be found; what is given is overwritten."""
    peak, index = similarity.max(dim=1)
    reach = softness.window if softness.window > 0 else RIVAL_CELLS
    columns, rows, inside = _square(index, grid, reach)
    at = (rows * grid.width + columns).where(inside, index.unsqueeze(1))
    scores = (similarity.gather(1, at) / softness.temperature).masked_fill(~inside, -torch.inf)
    shares = softmax(scores, dim=1)
    if softness.window <= 0:
        cells = expected_cells(similarity.view(len(similarity), grid.height, grid.width), softness)
    else:
        cells = torch.stack([(shares * columns).sum(dim=1), (shares * rows).sum(dim=1)], dim=1)
        if softness.window_mode == "zero":
            cells = _with_zeros(cells, scores, columns, rows, inside, grid)
    rival = similarity.scatter_(1, at, -torch.inf).amax(dim=1).clamp(min=NO_SIMILARITY)
    return Places(cells, index, peak, peak - rival, _entropy(shares, scores))


def _square(peak: Tensor, grid: _Grid, reach: int) -> tuple[Tensor, Tensor, Tensor]:
    """Columns and rows (P, K) of the cells of the square round each peak (P,), and which lie on the map."""
    across, down = min(reach, grid.width), min(reach, grid.height)
    dy, dx = torch.meshgrid(
        torch.arange(-down, down + 1, device=peak.device),
        torch.arange(-across, across + 1, device=peak.device),
        indexing="ij",
    )
    columns = (peak % grid.width).unsqueeze(1) + dx.flatten()
    rows = (peak // grid.width).unsqueeze(1) + dy.flatten()
    return columns, rows, (columns >= 0) & (columns < grid.width) & (rows >= 0) & (rows < grid.height)


def _with_zeros(cells: Tensor, scores: Tensor, columns: Tensor, rows: Tensor, inside: Tensor, grid: _Grid) -> Tensor:
    """Expected cells (P, 2) of the square alone, blended with all cells outside it, whose similarity counts as 0."""
    count = (grid.height * grid.width - inside.sum(dim=1)).to(cells)
    total = cells.new_tensor([(grid.width - 1) / 2, (grid.height - 1) / 2]) * grid.height * grid.width
    elsewhere = total - torch.stack([(columns * inside).sum(dim=1), (rows * inside).sum(dim=1)], dim=1)
    weight = torch.logsumexp(scores, dim=1)
    top = weight.clamp(min=0)
    near, far = (weight - top).exp().unsqueeze(1), (-top).exp().unsqueeze(1)
    return (near * cells + far * elsewhere) / (near + far * count.unsqueeze(1))


def _entropy(shares: Tensor, scores: Tensor) -> Tensor:
    """Of shares (P, K), over the logarithm of how many may be found; 0 if one alone may."""
    found = (~scores.isneginf()).sum(dim=1)
    return -torch.xlogy(shares, shares).sum(dim=1) / found.clamp(min=2).to(shares).log()


def _side(start: _Grid, end: _Grid, forth: Places, back: Places) -> SideMaps:
    leads = end.spread(back.index, 0)[forth.index]
    cycle = return_distance(start.chosen, leads, width=start.width).to(forth.peak)
    trust = confidence(forth.peak, forth.peak - forth.margin, cycle)
    points = (forth.cells + 0.5) / forth.cells.new_tensor([end.width, end.height])

    def whole(values: Tensor, missing: float = 0.0) -> Tensor:
        return start.spread(values, missing).view(*values.shape[:-1], start.height, start.width)

    return SideMaps(
        peak=whole(forth.peak),
        margin=whole(forth.margin),
        entropy=whole(forth.entropy),
        cycle=whole(cycle, torch.nan),
        points=whole(points.T, torch.nan).permute(1, 2, 0),
        confidence=whole(trust),
    )


def _nowhere(maps: Tensor) -> SideMaps:
    zero = maps.new_zeros(maps.shape[1:])
    nan = torch.full_like(zero, torch.nan)
    return SideMaps(zero, zero, zero, nan, nan.unsqueeze(2).expand(-1, -1, 2), zero)
