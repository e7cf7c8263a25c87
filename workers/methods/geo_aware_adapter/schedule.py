"""Learning rate and momentum in the course of a training."""

from __future__ import annotations

import math

from workers.methods.geo_aware_adapter.options import AdapterOptions

MOMENTUM = 0.9
_WARM_SHARE = 0.3
_FIRST_DIVISOR = 25.0
_LAST_DIVISOR = 1e4
_HIGH_MOMENTUM, _LOW_MOMENTUM = 0.95, 0.85


def rate_and_momentum(step: int, options: AdapterOptions) -> tuple[float, float]:
    """Adam's rate and first beta for a step from 0.

    One cycle (arXiv 1708.07120) as torch has it by default: from 1/25 of the highest rate up to it and down to almost
    nothing, in half cosines, while the momentum goes from 0.95 to 0.85 and back.
    """
    top = options.learning_rate
    if options.schedule == "constant":
        return top, MOMENTUM
    peak, last = _WARM_SHARE * options.steps - 1, options.steps - 1
    first = top / _FIRST_DIVISOR
    if step <= peak:
        share = step / peak if peak > 0 else 1.0
        return _eased(first, top, share), _eased(_HIGH_MOMENTUM, _LOW_MOMENTUM, share)
    share = (step - peak) / (last - peak)
    return _eased(top, first / _LAST_DIVISOR, share), _eased(_LOW_MOMENTUM, _HIGH_MOMENTUM, share)


def _eased(start: float, end: float, share: float) -> float:
    return end + (start - end) / 2 * (1 + math.cos(math.pi * share))
