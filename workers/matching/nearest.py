"""Nearest and mutual nearest neighbours of descriptors under the cosine similarity."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import normalize

from workers.backbones.base import Tick, no_tick
from workers.matching.chunks import chunk_rows
from workers.matching.parts import Parts, in_order

NO_SIMILARITY = -1.0
"""Of a pair that does not exist: the least that a cosine can be."""


@dataclass(frozen=True)
class Nearest:
    """For each of P descriptors the most similar of Q others.

    Attributes:
        index: (P,) the nearest of the others; on ties the first of the first part.
        similarity: (P,) cosine of the pair.
        rival: (P,) the highest cosine in a part of the others that does not touch the nearest's; -1 without such.
    """

    index: Tensor
    similarity: Tensor
    rival: Tensor


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
    first: Tensor,
    second: Tensor,
    *,
    first_mask: Tensor | None = None,
    second_mask: Tensor | None = None,
    tick: Tick = no_tick,
) -> Matches:
    """Nearest neighbours both ways between descriptors (P, C) and (Q, C), without holding the P x Q matrix.

    Args:
        first: (P, C), any length; compared by cosine.
        second: (Q, C).
        first_mask: (P,) bool, the descriptors that take part; all if None.
        second_mask: (Q,) bool.
        tick: called after every chunk.
    """
    rows, columns = _chosen(first, first_mask), _chosen(second, second_mask)
    index = torch.full((len(first),), -1, dtype=torch.long, device=first.device)
    back = index.clone()
    similarity = torch.full((len(first),), NO_SIMILARITY, device=first.device)
    if len(rows) == 0 or len(columns) == 0:
        return Matches(index, similarity, back)
    there, home = nearest_both_ways(normalize(first[rows], dim=1), normalize(second[columns], dim=1), tick=tick)
    index[rows], similarity[rows], back[rows] = columns[there.index], there.similarity, rows[home.index[there.index]]
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
        similarity.masked_fill(missing, NO_SIMILARITY),
        backward[forward].masked_fill(missing, -1),
    )


@torch.no_grad()
def nearest_both_ways(
    first: Tensor,
    second: Tensor,
    *,
    first_parts: Parts | None = None,
    second_parts: Parts | None = None,
    tick: Tick = no_tick,
) -> tuple[Nearest, Nearest]:
    """Find nearest neighbours and rivals of unit vectors (P, C) among (Q, C), and of the second among the first.

    The P x Q similarities are computed once, a chunk of rows at a time, and of each chunk only the highest in every
    part is kept, of its rows and of its columns. Which descriptor it was is then looked for in the best part alone.

    Args:
        first: (P, C) unit vectors, P >= 1.
        second: (Q, C) unit vectors, Q >= 1.
        first_parts: of the first set; without, no rivals are sought.
        second_parts: of the second set.
        tick: called after every chunk.

    Returns:
        Of the first set among the second, P long, and of the second among the first, Q long.
    """
    first_parts = first_parts or in_order(len(first), device=first.device)
    second_parts = second_parts or in_order(len(second), device=second.device)
    members = second_parts.members()
    order = torch.cat(members)
    table = second[order].T
    there = first.new_full((len(first), len(members)), -torch.inf)
    back = first.new_full((len(first_parts.touching), len(second)), -torch.inf)
    for part, rows in first_parts.chunks(chunk_rows(len(second))):
        cosine = first[rows] @ table
        there[rows] = _best_of_parts(cosine, members)
        back[part] = torch.maximum(back[part], cosine.amax(dim=0))
        tick()
    return (
        _found(first, second, there, second_parts, tick),
        _found(second, first, back[:, torch.argsort(order)].T, first_parts, tick),
    )


def nearest_brute_force(first: Tensor, second: Tensor, second_parts: Parts) -> Nearest:
    """What `nearest_both_ways` says of the first set, written plainly with the whole similarity matrix."""
    cosine = first @ second.T
    similarity, index = cosine.max(dim=1)
    near = second_parts.touching[second_parts.label[index]][:, second_parts.label]
    return Nearest(index, similarity, cosine.masked_fill(near, NO_SIMILARITY).max(dim=1).values)


def _best_of_parts(cosine: Tensor, members: list[Tensor]) -> Tensor:
    """Highest (B, K) of rows (B, Q), whose columns stand in the order of the members of K parts."""
    blocks = torch.split(cosine, [len(part) for part in members], dim=1)
    nothing = cosine.new_full((len(cosine),), -torch.inf)
    return torch.stack([block.amax(dim=1) if block.shape[1] else nothing for block in blocks], dim=1)


def _found(queries: Tensor, others: Tensor, bests: Tensor, parts: Parts, tick: Tick) -> Nearest:
    """The nearest of (P, C) among (Q, C), given the highest cosine (P, K) in each part of the others."""
    part = bests.argmax(dim=1)
    rival = bests.masked_fill(parts.touching[part], NO_SIMILARITY).amax(dim=1).clamp(min=NO_SIMILARITY)
    index, similarity = torch.zeros_like(part), torch.zeros_like(rival)
    members = parts.members()
    largest = chunk_rows(max(len(candidates) for candidates in members))
    for number, rows in Parts(part, parts.touching).chunks(largest):
        similarity[rows], at = (queries[rows] @ others[members[number]].T).max(dim=1)
        index[rows] = members[number][at]
        tick()
    return Nearest(index, similarity, rival)


def _chosen(descriptors: Tensor, mask: Tensor | None) -> Tensor:
    if mask is None:
        return torch.arange(len(descriptors), device=descriptors.device)
    return mask.nonzero().squeeze(1)
