"""A colour map whose lightness rises evenly, so that equal steps of a value look equally large."""

from __future__ import annotations

import torch
from torch import Tensor

_ANCHORS = (
    (68, 1, 84),
    (72, 40, 120),
    (62, 74, 137),
    (49, 104, 142),
    (38, 130, 142),
    (31, 158, 137),
    (53, 183, 121),
    (109, 205, 89),
    (180, 222, 44),
    (253, 231, 37),
)


def coloured(values: Tensor) -> Tensor:
    """RGB (3, ...) in [0, 1] of values (...) in [0, 1]: violet, blue, green, yellow.

    Ten evenly spaced colours of viridis (Smith and van der Walt, 2015, public domain), linear in between.
    """
    anchors = torch.tensor(_ANCHORS, dtype=values.dtype, device=values.device).T / 255
    place = values.clamp(0, 1) * (len(_ANCHORS) - 1)
    low = place.floor().clamp(max=len(_ANCHORS) - 2)
    share = place - low
    return anchors[:, low.long()] * (1 - share) + anchors[:, low.long() + 1] * share
