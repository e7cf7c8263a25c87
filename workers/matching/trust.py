"""How far to trust a match: does the way back end at its start, and does it beat its best rival elsewhere."""

from __future__ import annotations

import torch
from torch import Tensor

_RETURN_SIGMA_CELLS = 2.0
_MARGIN_TEMPERATURE = 0.05


def return_distance(start: Tensor, end: Tensor, *, width: int) -> Tensor:
    """Distance (P,) in cells of a row-major grid between starts (P,) and the cells (P,) where their ways back end."""
    gap = torch.stack([start % width - end % width, start // width - end // width])
    return gap.square().sum(dim=0).float().sqrt()


def confidence(similarity: Tensor, rival: Tensor, distance: Tensor) -> Tensor:
    """Trust in each match (P,), in [0, 1].

    The product of the cosine (negative counts as 0), of exp(-d^2 / (2 sigma^2)) with sigma 2 cells, so that mutual
    neighbours lose nothing, and of a sigmoid of the margin over the rival: a tie halves it.

    Args:
        similarity: (P,) cosine of the match.
        rival: (P,) highest cosine elsewhere.
        distance: (P,) d in cells between the start and where the way back ends.
    """
    returns = torch.exp(-distance.square() / (2 * _RETURN_SIGMA_CELLS**2))
    return similarity.clamp(0, 1) * returns * torch.sigmoid((similarity - rival) / _MARGIN_TEMPERATURE)


def passes_ratio(similarity: Tensor, rival: Tensor, ratio: float) -> Tensor:
    """Lowe's test (IJCV 60, 2004, section 7.1): (P,) matches whose distance is below `ratio` times the rival's.

    The distance is 1 - cosine. The second nearest neighbour of a dense map is the nearest one's neighbour cell, which
    says nothing; as in the paper, the rival is the closest one that is known to be something else. Ties fail.
    """
    return 1 - similarity < ratio * (1 - rival)
