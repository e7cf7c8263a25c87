"""Points from image to image as the official code of ASIC carries them, for comparisons (spec: `compat`)."""

from __future__ import annotations

import torch
from torch import Tensor

from workers.geometry.coordinates import index_to_normalised
from workers.methods.asic.network.canonical import flow_at, resized_flow

_FOREGROUND = 0.1


def to_canonical(flow: Tensor, pixels: Tensor) -> Tensor:
    """Canonical places (N, K, 2) of pixels (N, K, 2), through flows (N, S, S, 2).

    The official code shrinks pixel coordinates by (S - 1) / S towards the middle, which displaces a border point by
    half a pixel.
    """
    return flow_at(flow, index_to_normalised(pixels, size=flow.shape[1]))


def from_canonical(flow: Tensor, places: Tensor, mask: Tensor | None = None, *, size: int | None = None) -> Tensor:
    """The pixels (N, K, 2), whole (x, y), whose flow is nearest to canonical places (N, K, 2).

    Args:
        flow: (N, S, S, 2).
        places: in the canonical plane.
        mask: (N, size, size) in [0, 1]; pixels below 0.1 do not take part. If none takes part, the answer is (0, 0).
        size: pixels a side to answer in; S if None. The first pixel, row by row, wins a tie.
    """
    flow = resized_flow(flow, size or flow.shape[1])
    distances = torch.cdist(places, flow.flatten(1, 2), compute_mode="donot_use_mm_for_euclid_dist")
    if mask is not None:
        distances = distances.masked_fill((mask < _FOREGROUND).flatten(1).unsqueeze(1), torch.inf)
    nearest = distances.argmin(dim=2)
    return torch.stack([nearest % flow.shape[2], nearest // flow.shape[2]], dim=2)
