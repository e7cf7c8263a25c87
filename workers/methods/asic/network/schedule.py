"""Learning rates: a cosine with warm restarts that lose height (GANgealing, arXiv 2112.05143; SGDR, 1608.03983)."""

from __future__ import annotations

import math


def learning_rate(step: int, *, base: float = 0.003, period: int = 10_000, decay: float = 0.9) -> float:
    """The rate after `step` optimiser steps; cycles take 1, 2, 4, ... periods and begin at base * decay ^ cycle."""
    cycle = int(math.log2(step / period + 1))
    into = step / period - (2**cycle - 1)
    return base * decay**cycle * 0.5 * (1 + math.cos(math.pi * into / 2**cycle))
