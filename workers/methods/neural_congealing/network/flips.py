"""Which pictures to mirror: those whose mirrored selves are nearer to the atlas."""

from __future__ import annotations

import torch
from torch import Tensor

HYSTERESIS = 0.02


def choose_flips(plain: Tensor, turned: Tensor, mirrored: Tensor, *, compat: bool) -> Tensor:
    """Decide anew for each image (N,) bool, from its distance to the atlas as it is and mirrored, (N,) each.

    Args:
        plain: distances of the pictures as they are.
        turned: distances of the mirrored pictures.
        mirrored: the present choice, (N,) bool.
        compat: take whatever is nearer, the picture as it is if neither; else change only for a distance that is
            2 % smaller, so that near ties do not swing to and fro.
    """
    if compat:
        return turned < plain
    own, other = torch.where(mirrored, turned, plain), torch.where(mirrored, plain, turned)
    return mirrored ^ (other < (1 - HYSTERESIS) * own)
