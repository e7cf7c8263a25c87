"""When an embedding has learnt what it can."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

_MEMORY = 0.85
_PROGRESS = 0.01
_PATIENCE = 10
_WARM_UP = 16
_LEARNT = 0.9


class Patience:
    """Follows losses, smoothed as crops differ, and ends items that have learnt something and stopped falling."""

    def __init__(self, count: int) -> None:
        """Follow `count` items."""
        self._mean = torch.zeros(count)
        self._best = torch.full((count,), torch.inf)
        self._stale = torch.zeros(count)
        self._seen = torch.zeros(count)

    def see(self, losses: Tensor) -> None:
        """Take in the losses (B,) of a step as shares of that of no attention; NaN for items that took no part.

        Shares, since the wanted peak is cut where a point lies near a crop's edge, and the loss then is less.
        """
        took_part = losses.isfinite()
        self._seen += took_part
        smooth = _MEMORY * self._mean + (1 - _MEMORY) * losses.nan_to_num(0.0)
        self._mean = torch.where(took_part, smooth, self._mean)
        level = self._mean / (1 - _MEMORY ** self._seen.clamp_min(1))
        fell = level < self._best * (1 - _PROGRESS)
        self._best = torch.where(took_part & fell, level, self._best)
        self._stale = torch.where(fell, 0, self._stale + took_part)

    def patient(self) -> list[int]:
        """Items that go on."""
        ended = (self._stale >= _PATIENCE) & (self._seen >= _WARM_UP) & (self._best < _LEARNT)
        going: list[int] = (~ended).nonzero()[:, 0].tolist()
        return going

    def state(self) -> dict[str, Tensor]:
        """What `restore` takes."""
        return {"mean": self._mean, "best": self._best, "stale": self._stale, "seen": self._seen}

    def restore(self, state: Mapping[str, Tensor]) -> None:
        """Go on from `state`."""
        self._mean, self._best = state["mean"].clone(), state["best"].clone()
        self._stale, self._seen = state["stale"].clone(), state["seen"].clone()
