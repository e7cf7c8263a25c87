"""Which clusters are the object: every image votes for the clusters that are salient in it (arXiv 2112.05814)."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn.functional import one_hot

THRESHOLD = 0.065
"""Mean saliency above which a cluster gets an image's vote, on a scale where each image's values fill [0, 1]."""
_ROUNDING = 9


def cluster_means(labels: Tensor, saliency: Tensor, count: int, *, weights: Tensor | None = None) -> Tensor:
    """Mean saliency of each cluster in each image.

    Args:
        labels: (N, h, w) in 0..count - 1.
        saliency: (N, h, w).
        count: number of clusters K.
        weights: (N, h, w) >= 0 of the cells; all 1 when None.

    Returns:
        (N, K) float64; NaN where the image has no cell of the cluster.
    """
    shares = one_hot(labels.flatten(1), count).double()
    if weights is not None:
        shares = shares * weights.flatten(1).double().unsqueeze(-1)
    totals = torch.einsum("npk,np->nk", shares, saliency.flatten(1).double())
    return totals / shares.sum(dim=1)


def count_votes(means: Tensor, threshold: Tensor | float = THRESHOLD) -> Tensor:
    """Votes (K,) int64: in how many images the cluster's mean (N, K) exceeds the threshold; absence is no vote."""
    return (means > threshold).sum(dim=0)


def votes_needed(images: int, share: float) -> int:
    """Votes that make a cluster salient: the share of the images, rounded up."""
    return math.ceil(round(images * share, _ROUNDING))


def salient_clusters(means: Tensor, *, share: float, threshold: float = THRESHOLD) -> Tensor:
    """Clusters (K,) bool that at least `share` of the images vote for."""
    return count_votes(means, threshold) >= votes_needed(len(means), share)
