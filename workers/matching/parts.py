"""Parts of a set of descriptors: a match is held against its best rival in another part of the picture."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

_BLOCKS = 8
_RUN = 256


@dataclass(frozen=True)
class Parts:
    """Which part each of P descriptors lies in.

    Attributes:
        label: (P,) number of the part, in [0, K).
        touching: (K, K) bool, parts that are the same or touch: too near for one to rival the other.
    """

    label: Tensor
    touching: Tensor

    def of(self, chosen: Tensor) -> Parts:
        """The parts of some of the descriptors, by their indices (M,)."""
        return Parts(self.label[chosen], self.touching)

    def members(self) -> list[Tensor]:
        """Indices of the descriptors of each part, in order."""
        sizes = torch.bincount(self.label, minlength=len(self.touching)).tolist()
        return list(torch.split(torch.argsort(self.label, stable=True), sizes))

    def chunks(self, largest: int) -> Iterator[tuple[int, Tensor]]:
        """Number and members, at most `largest` at a time, of each part that has any."""
        for part, members in enumerate(self.members()):
            if len(members):
                yield from ((part, chunk) for chunk in torch.split(members, largest))


def in_order(count: int, *, device: torch.device) -> Parts:
    """Runs of at most 256 descriptors, all taken to touch: there is no elsewhere."""
    label = torch.arange(count, device=device) // _RUN
    parts = -(-count // _RUN)
    return Parts(label, torch.ones(parts, parts, dtype=torch.bool, device=device))


def grid_parts(height: int, width: int, *, device: torch.device) -> Parts:
    """An 8 x 8 partition of a row-major grid; parts that share an edge or a corner touch."""
    rows = torch.arange(height, device=device) * _BLOCKS // max(height, _BLOCKS)
    columns = torch.arange(width, device=device) * _BLOCKS // max(width, _BLOCKS)
    part = torch.arange(_BLOCKS * _BLOCKS, device=device)
    row, column = part // _BLOCKS, part % _BLOCKS
    gap = torch.maximum((row[:, None] - row).abs(), (column[:, None] - column).abs())
    return Parts((rows.unsqueeze(1) * _BLOCKS + columns).flatten(), gap <= 1)
