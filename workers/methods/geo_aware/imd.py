"""How alike two images are in pose: the instance matching distance of Telling Left from Right (arXiv 2311.17034).

Each cell of the object goes to the cell of the other image whose feature is nearest, wherever that lies; the mean of
the distances is the smaller the more alike the two are turned, for features of great networks depend on the facing.
The official form, a loop over cells, is in `workers.evaluation.official_imd`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import interpolate

from workers.backbones.base import Tick, no_tick
from workers.matching.chunks import chunk_rows

_TICKS_A_CHUNK = 4
_CHANNELS = 128


def resampled(features: Tensor, resolution: int) -> Tensor:
    """Features (N, C, h, w) at `resolution` cells a side, bilinear; as in the official code not normalised again."""
    return interpolate(features, (resolution, resolution), mode="bilinear", align_corners=False)


@torch.no_grad()
def imd(
    source: Tensor, target: Tensor, source_mask: Tensor, target_mask: Tensor | None = None, *, tick: Tick = no_tick
) -> float:
    """Mean Euclidean distance of the source's cells to the nearest of the target's.

    Args:
        source: (C, h, w) float32.
        target: (C, k, l), any size.
        source_mask: (h, w) bool, the cells that look for a partner.
        target_mask: (k, l) bool, the cells that may be one; all if None.
        tick: called after every chunk.

    Returns:
        The distance, at least 0; not symmetric. NaN where a mask is empty.
    """
    return _mean_distance(_cells(source, source_mask), _candidates(target, target_mask), tick)


@torch.no_grad()
def imd_matrix(
    variants: Sequence[Tensor],
    targets: Tensor,
    variant_masks: Sequence[Tensor],
    target_masks: Tensor | None = None,
    *,
    pairs: Sequence[tuple[int, int]] | None = None,
    tick: Tick = no_tick,
) -> Tensor:
    """`imd` of every pose variant of every image to every other image as it is.

    Args:
        variants: of each of V variants, features (N, C, r, r) of the images in that pose.
        targets: (N, C, r, r) features of the images as they are.
        variant_masks: (N, r, r) bool of each variant.
        target_masks: (N, r, r) bool; all cells if None.
        pairs: (source, target) image numbers; all pairs of two images if None.
        tick: called after every chunk.

    Returns:
        (N, N, V) float32 on the CPU, row = source, column = target; NaN for pairs not asked for, among them an image
        and itself, and where a mask is empty.
    """
    count = len(targets)
    wanted = {(i, j) for i in range(count) for j in range(count) if i != j} if pairs is None else set(pairs)
    distances = torch.full((count, count, len(variants)), torch.nan)
    for target in sorted({pair[1] for pair in wanted}):
        candidates = _candidates(targets[target], None if target_masks is None else target_masks[target])
        for source in sorted(i for i, j in wanted if j == target):
            for number, (features, masks) in enumerate(zip(variants, variant_masks, strict=True)):
                cells = _cells(features[source], masks[source])
                distances[source, target, number] = _mean_distance(cells, candidates, tick)
    return distances


@torch.no_grad()
def mutual_distance(first: Tensor, second: Tensor, *, tick: Tick = no_tick) -> float:
    """Mean Euclidean distance of the mutual nearest neighbours of all cells of two maps (C, h, w) and (C, k, l).

    Needs no mask. It is symmetric, and the same for a map and its mirror image.
    """
    cells, candidates = first.flatten(1), _candidates(second, None)
    there = torch.empty(cells.shape[1], dtype=torch.long, device=first.device)
    back = torch.zeros(candidates.norms.shape, dtype=torch.long, device=first.device)
    least = torch.full_like(candidates.norms, torch.inf)
    for rows in torch.split(torch.arange(cells.shape[1], device=first.device), _rows_at_once(candidates)):
        block = cells[:, rows]
        squared = candidates.less_own_norm(block) + block.square().sum(dim=0).unsqueeze(1)
        there[rows] = squared.argmin(dim=1)
        lowest, row = squared.min(dim=0)
        back, least = rows[row].where(lowest < least, back), torch.minimum(lowest, least)
        tick()
    mutual = (back[there] == torch.arange(len(there), device=first.device)).nonzero().squeeze(1)
    gaps = cells[:, mutual] - candidates.table[:, there[mutual]]
    return float(torch.linalg.vector_norm(gaps, dim=0).mean())


@dataclass(frozen=True)
class _Candidates:
    """Features (C, Q) of the cells that may be partners, and their squared lengths (Q,)."""

    table: Tensor
    norms: Tensor

    def less_own_norm(self, cells: Tensor) -> Tensor:
        """Squared distances (P, Q) of features (C, P), each row less the squared length of its own feature."""
        return torch.addmm(self.norms, cells.T, self.table, alpha=-2)


def _candidates(features: Tensor, mask: Tensor | None) -> _Candidates:
    table = features.flatten(1) if mask is None else _cells(features, mask)
    return _Candidates(table, _squared_lengths(table))


def _squared_lengths(table: Tensor) -> Tensor:
    """(Q,) of features (C, Q), a few channels at a time: so the squares stay in the cache, ten times as fast."""
    total = table.new_zeros(table.shape[1])
    for channels in torch.split(table, _CHANNELS):
        total += channels.square().sum(dim=0)
    return total


def _cells(features: Tensor, mask: Tensor) -> Tensor:
    """(C, P) features of the cells inside."""
    return features.flatten(1).index_select(1, mask.flatten().nonzero().squeeze(1))


def _rows_at_once(candidates: _Candidates) -> int:
    return chunk_rows(_TICKS_A_CHUNK * max(candidates.table.shape))


def _mean_distance(cells: Tensor, candidates: _Candidates, tick: Tick) -> float:
    """Products tell which candidate is nearest; its distance alone is then taken by itself, free of their rounding."""
    if not cells.shape[1] or not len(candidates.norms):
        return float("nan")
    total = 0.0
    for block in torch.split(cells, _rows_at_once(candidates), dim=1):
        nearest = candidates.less_own_norm(block).argmin(dim=1)
        gaps = block - candidates.table.index_select(1, nearest)
        total += float(torch.linalg.vector_norm(gaps, dim=0).double().sum())
        tick()
    return total / cells.shape[1]
