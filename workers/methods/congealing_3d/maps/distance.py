"""How far apart two pictures are: by their features, and by their masks (3D Congealing, arXiv 2404.02125)."""

from __future__ import annotations

from torch import Tensor
from torch.nn.functional import normalize

_TINY = 1e-12


def distance_map(first: Tensor, second: Tensor) -> Tensor:
    """One minus the cosine of features (N, C, h, w) on the same cells: (N, h, w) in [0, 2]; 1 where either is zero."""
    return 1 - (normalize(first, dim=1) * normalize(second, dim=1)).sum(dim=1)


def semantic_distance(first: Tensor, second: Tensor) -> Tensor:
    """The mean of `distance_map` over all cells, (N,)."""
    return distance_map(first, second).mean(dim=(1, 2))


def soft_jaccard(first: Tensor, second: Tensor, *, first_mask: Tensor, second_mask: Tensor) -> Tensor:
    """One minus the cosines where both show the object, as a share of where either does: (N,).

    Cosines count as the masks' overlap does in `mask_loss`; that one is the same for pictures that agree everywhere.

    Args:
        first: features (N, C, h, w).
        second: features (N, C, h, w).
        first_mask: (N, 1, h, w) in [0, 1].
        second_mask: (N, 1, h, w) in [0, 1].
    """
    cosine = 1 - distance_map(first, second).unsqueeze(1)
    union = union_area(first_mask, second_mask)
    return 1 - (cosine * first_mask * second_mask).sum(dim=(1, 2, 3)) / union.clamp_min(_TINY)


def intersection_area(first: Tensor, second: Tensor) -> Tensor:
    """Cells that soft masks (N, 1, h, w) share, (N,)."""
    return (first * second).sum(dim=(1, 2, 3))


def union_area(first: Tensor, second: Tensor) -> Tensor:
    """Cells that either of soft masks (N, 1, h, w) covers, (N,)."""
    return (first + second - first * second).sum(dim=(1, 2, 3))


def mask_loss(first: Tensor, second: Tensor) -> Tensor:
    """One minus the intersection over the union of soft masks (N, 1, h, w), (N,); 1 if both are empty."""
    return 1 - intersection_area(first, second) / union_area(first, second).clamp_min(_TINY)
