"""The best candidates that differ: one pose is often not enough to know front from back."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from workers.geometry.cameras import Cameras, angles_between_deg

APART_DEG = 30.0


@dataclass(frozen=True)
class Hypotheses:
    """M candidates of each of N images, best first.

    Attributes:
        indices: (N, M) numbers of candidates.
        scores: (N, M).
    """

    indices: Tensor
    scores: Tensor


def strongest_modes(scores: Tensor, cameras: Cameras, *, count: int, apart_deg: float = APART_DEG) -> Hypotheses:
    """Keep the best candidates, each turned by more than `apart_deg` from all better ones (non-maximum suppression).

    Args:
        scores: (N, K).
        cameras: K candidates.
        count: M; where fewer are so far apart, the last one is repeated.
        apart_deg: least angle between two that are kept.
    """
    left = scores.clone()
    chosen: list[Tensor] = []
    for _ in range(count):
        best = left.argmax(dim=1)
        exhausted = torch.isinf(left.gather(1, best[:, None]).squeeze(1))
        if chosen:
            best = torch.where(exhausted, chosen[-1], best)
        chosen.append(best)
        turns = angles_between_deg(cameras.rotation[best][:, None], cameras.rotation[None])
        left = left.masked_fill(turns <= apart_deg, -torch.inf)
    indices = torch.stack(chosen, dim=1)
    return Hypotheses(indices, scores.gather(1, indices))
