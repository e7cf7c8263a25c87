"""What the images have in common, as saliency: where their aligned features agree."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import avg_pool2d, max_pool2d, pad


def mean_pair_agreement(features: Tensor, weights: Tensor) -> Tensor:
    """Weighted mean cosine (P,) over pairs of different images of unit features (N, D, P) with weights (N, P).

    Uses |sum_i w_i f_i|^2 = sum_i w_i^2 + sum_(i != j) w_i w_j cos_ij.
    """
    total = torch.einsum("ndp,np->dp", features, weights)
    own = weights.square().sum(dim=0)
    pairs = weights.sum(dim=0).square() - own
    agreement: Tensor = (total.square().sum(dim=0) - own) / pairs.clamp(min=1e-6)
    return torch.where(pairs > 1e-3, agreement, torch.zeros_like(agreement))


def consensus_saliency(features: Tensor, weights: Tensor, size: int) -> Tensor:
    """Saliency (size * size,) in [0, 1] of a size x size lattice of aligned features.

    Args:
        features: (N, D, size * size) unit vectors, centred so that unrelated ones have cosine about 0.
        weights: (N, size * size) >= 0.
    """
    agreement = mean_pair_agreement(features, weights).view(1, 1, size, size)
    smooth = avg_pool2d(agreement, 3, 1, 1, count_include_pad=False).flatten()
    level = float(torch.quantile(smooth, 0.97))
    return ((smooth - 0.25 * level) / max(0.5 * level, 1e-3)).clamp(0, 1)


def interior(area: Tensor, margin: int) -> Tensor:
    """Area (N, 1, h, w) without a rim of `margin` cells, where features see what lies beyond the picture."""
    outside = pad(1 - area, (margin, margin, margin, margin), value=1.0)
    return 1 - max_pool2d(outside, 2 * margin + 1, stride=1)
