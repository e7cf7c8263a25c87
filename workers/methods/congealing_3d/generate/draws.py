"""Random numbers that depend on nothing but a seed, a purpose and a step: a resumed run draws what it would have."""

from __future__ import annotations

import torch

_STRIDE = 1_000_003
_PURPOSES = ("inversion", "look", "views", "rays", "latents", "noise", "occupancy", "start")


def drawing(seed: int, purpose: str, step: int = 0) -> torch.Generator:
    """Numbers for one purpose of a step; drawn on the CPU, so that they are the same on every device."""
    mixed = (seed * _STRIDE + step) * len(_PURPOSES) + _PURPOSES.index(purpose)
    return torch.Generator().manual_seed(mixed % (1 << 62))
