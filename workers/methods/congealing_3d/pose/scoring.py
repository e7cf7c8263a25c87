"""How well candidates fit images: cosines of features over masks that overlap, for all at once."""

from __future__ import annotations

import torch
from torch import Tensor

from workers.methods.congealing_3d.pose.bank import Bank

_CHUNK = 128


def fit_scores(features: Tensor, masks: Tensor | None, bank: Bank) -> Tensor:
    """Score every candidate for every image by matrix products.

    The score is the soft Jaccard index of arXiv 2404.02125 as our experiments favour it: the sum of m m' cos over that
    of m + m' - m m', over the cells of the crops, with masks m and m'. Where no masks are known, it is the mean cosine
    over the candidate's cells.

    Args:
        features: (N, C, g, g) unit vectors of the images' crops.
        masks: (N, 1, g, g) in [0, 1], or None.
        bank: the candidates.

    Returns:
        (N, K) in [-1, 1]; higher is better.
    """
    weighted = (features if masks is None else features * masks).flatten(1)
    parts = []
    for start in range(0, len(bank), _CHUNK):
        theirs = bank.masks[start : start + _CHUNK]
        common = weighted @ (bank.features[start : start + _CHUNK] * theirs).flatten(1).T
        parts.append(common / _areas(masks, theirs))
    return torch.cat(parts, dim=1)


def pair_scores(features: Tensor, masks: Tensor | None, their_features: Tensor, their_masks: Tensor) -> Tensor:
    """Score one candidate for each image, (N,): `fit_scores` of pairs, and its readable reference.

    Args:
        features: (N, C, g, g) of the images.
        masks: (N, 1, g, g) or None.
        their_features: (N, C, g, g) of the candidates.
        their_masks: (N, 1, g, g).
    """
    cosine = (features * their_features).sum(dim=1, keepdim=True)
    if masks is None:
        return _summed(cosine * their_masks) / _summed(their_masks).clamp_min(1e-6)
    common = masks * their_masks
    return _summed(cosine * common) / _summed(masks + their_masks - common).clamp_min(1e-6)


def _areas(masks: Tensor | None, theirs: Tensor) -> Tensor:
    """What sums of cosines are divided by, (N, k), or (1, k) without masks."""
    areas = theirs.flatten(1).sum(dim=1)
    if masks is None:
        return areas.clamp_min(1e-6).unsqueeze(0)
    own = masks.flatten(1)
    return (own.sum(dim=1, keepdim=True) + areas - own @ theirs.flatten(1).T).clamp_min(1e-6)


def _summed(values: Tensor) -> Tensor:
    return values.flatten(1).sum(dim=1)
