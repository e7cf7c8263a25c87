"""Nearest and mutual nearest neighbours of descriptors under the cosine similarity."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import normalize

_BLOCK_ELEMENTS = 1 << 22
_RETURN_SIGMA_CELLS = 2.0


@dataclass(frozen=True)
class Matches:
    """For each of P descriptors its partner among Q.

    Attributes:
        index: (P,) the nearest of the second set; -1 where the descriptor is masked out or the second set is empty.
        similarity: (P,) cosine of the pair, -1 where there is none.
        back: (P,) where the partner's own nearest lies in the first set; -1 where there is none.
    """

    index: Tensor
    similarity: Tensor
    back: Tensor

    @property
    def mutual(self) -> Tensor:
        """(P,) True where the two are each other's nearest."""
        own = torch.arange(len(self.index), device=self.index.device)
        return (self.index >= 0) & (self.back == own)


def match(
    first: Tensor, second: Tensor, *, first_mask: Tensor | None = None, second_mask: Tensor | None = None
) -> Matches:
    """Nearest neighbours both ways between descriptors (P, C) and (Q, C), without holding the P x Q matrix.

    Args:
        first: (P, C), any length; compared by cosine.
        second: (Q, C).
        first_mask: (P,) bool, the descriptors that take part; all if None.
        second_mask: (Q,) bool.
    """
    rows, columns = _chosen(first, first_mask), _chosen(second, second_mask)
    index = torch.full((len(first),), -1, dtype=torch.long, device=first.device)
    back = index.clone()
    similarity = torch.full((len(first),), -1.0, device=first.device)
    if len(rows) == 0 or len(columns) == 0:
        return Matches(index, similarity, back)
    forward, best, backward = _nearest_both_ways(normalize(first[rows], dim=1), normalize(second[columns], dim=1))
    index[rows], similarity[rows], back[rows] = columns[forward], best, rows[backward[forward]]
    return Matches(index, similarity, back)


def match_brute_force(first: Tensor, second: Tensor, *, first_mask: Tensor, second_mask: Tensor) -> Matches:
    """What `match` computes, written plainly with the whole similarity matrix."""
    cosine = normalize(first, dim=1) @ normalize(second, dim=1).T
    forward = cosine.masked_fill(~second_mask, -2.0).argmax(dim=1)
    backward = cosine.masked_fill(~first_mask.unsqueeze(1), -2.0).argmax(dim=0)
    missing = ~first_mask | ~second_mask.any()
    similarity = cosine.gather(1, forward.unsqueeze(1)).squeeze(1)
    return Matches(
        forward.masked_fill(missing, -1),
        similarity.masked_fill(missing, -1.0),
        backward[forward].masked_fill(missing, -1),
    )


def confidence(matches: Matches, *, width: int) -> Tensor:
    """How far to trust each match (P,), in [0, 1], when the first set is a row-major grid of cells.

    The cosine (negative counts as 0) times exp(-d^2 / (2 sigma^2)), d the distance in cells between the
    descriptor and where its partner's nearest lies; sigma is 2 cells, so mutual neighbours lose nothing.
    """
    own = torch.arange(len(matches.index), device=matches.index.device)
    gap = torch.stack([own % width - matches.back % width, own // width - matches.back // width]).float()
    trust = torch.exp(-gap.square().sum(dim=0) / (2 * _RETURN_SIGMA_CELLS**2))
    return torch.where(matches.index >= 0, matches.similarity.clamp(0, 1) * trust, torch.zeros_like(trust))


def refine_matches(first: Tensor, second_map: Tensor, index: Tensor) -> Tensor:
    """Sub-pixel partners: a parabola through the cosines of the partner's four neighbours, per axis.

    Args:
        first: (P, C) descriptors.
        second_map: (C, h, w) the map in which `index` counts row-major.
        index: (P,) partners, all >= 0.

    Returns:
        (P, 2) cell positions (column, row), within half a cell of the partner's centre.
    """
    channels, height, width = second_map.shape
    table = normalize(second_map.reshape(channels, -1), dim=0)
    unit = normalize(first, dim=1)
    column, row = index % width, index // width

    def cosine(dx: int, dy: int) -> Tensor:
        at = (row + dy).clamp(0, height - 1) * width + (column + dx).clamp(0, width - 1)
        return (unit * table[:, at].T).sum(dim=1)

    centre = cosine(0, 0)
    x = column + _parabola_peak(cosine(-1, 0), centre, cosine(1, 0))
    y = row + _parabola_peak(cosine(0, -1), centre, cosine(0, 1))
    return torch.stack([x, y], dim=1)


def _parabola_peak(before: Tensor, centre: Tensor, after: Tensor) -> Tensor:
    curvature = (2 * centre - before - after).clamp(min=1e-6)
    return ((after - before) / (2 * curvature)).clamp(-0.5, 0.5)


def _chosen(descriptors: Tensor, mask: Tensor | None) -> Tensor:
    if mask is None:
        return torch.arange(len(descriptors), device=descriptors.device)
    return mask.nonzero().squeeze(1)


def _nearest_both_ways(first: Tensor, second: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """For each of the first set its nearest and the cosine; for each of the second its nearest."""
    block = max(1, _BLOCK_ELEMENTS // len(second))
    forward, best = [], []
    back_best = torch.full((len(second),), -2.0, device=first.device)
    backward = torch.zeros(len(second), dtype=torch.long, device=first.device)
    for begin in range(0, len(first), block):
        cosine = first[begin : begin + block] @ second.T
        values, indices = cosine.max(dim=1)
        forward.append(indices)
        best.append(values)
        values, indices = cosine.max(dim=0)
        better = values > back_best
        back_best = torch.where(better, values, back_best)
        backward = torch.where(better, indices + begin, backward)
    return torch.cat(forward), torch.cat(best), backward
