"""From relations between pairs of images to one frame for all (synchronisation over groups).

Signs and rotations come from leading eigenvectors (Singer, "Angular synchronization by eigenvectors and semidefinite
programming", 2011), scales and translations from least squares; both are re-weighted against wrong pairs.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

_ROUNDS = 15
_SLIGHT_SUPPORT = 0.05
_ANGLE_SIGMA = 0.15
_LOG_SCALE_SIGMA = 0.15
_SHIFT_SIGMA = 0.12


@dataclass(frozen=True)
class PairRelations:
    """Similarities between ordered pairs (i, j) of N images: z_j = factor z_i + shift over the complex plane.

    Attributes:
        factor: (N, N) complex128.
        source: (N, N) complex128, a point of image i well inside the evidence (the mean of the matches).
        target: (N, N) complex128, where it lies in image j.
        weights: (N, N) >= 0, symmetric; 0 where nothing is known.
    """

    factor: Tensor
    source: Tensor
    target: Tensor
    weights: Tensor


def synchronise_signs(agreement: Tensor, disagreement: Tensor, *, min_gain: float = 0.1) -> Tensor:
    """Signs (N,) of +-1 that explain which pairs agree as they are and which with one of them mirrored.

    The leading eigenvector of (P - Q) / (P + Q) starts a greedy ascent of the support sum_ij P or Q. A sign differs
    from the majority only where that raises the image's own support by more than the share `min_gain`, and where
    there is support worth the name.

    Args:
        agreement: (N, N) symmetric support P when both are as they are (or both mirrored).
        disagreement: (N, N) symmetric support Q when one of the two is mirrored.
    """
    total = (agreement + disagreement).double()
    typical = total.mean().clamp(min=1e-12)
    margin = (agreement - disagreement).double() / (total + 0.1 * typical)
    margin = margin - margin.diagonal().diag()
    _, vectors = torch.linalg.eigh((margin + margin.T) / 2)
    signs = torch.where(vectors[:, -1] >= 0, 1.0, -1.0).double()
    gain = (agreement - disagreement).double()
    gain = gain - gain.diagonal().diag()
    signs = _ascend(signs, gain)
    if (signs < 0).sum() * 2 > len(signs) or ((signs < 0).sum() * 2 == len(signs) and signs[0] < 0):
        signs = -signs
    return _doubtful_unflipped(signs, agreement.double(), disagreement.double(), min_gain)


def synchronise_similarities(pairs: PairRelations) -> tuple[Tensor, Tensor]:
    """Maps z_i = factor_i w + shift_i (N,), (N,) complex128 from a common frame w to each image.

    Gauge: the weighted mean log-scale, rotation and shift are 0. Images without relations get the identity.
    """
    rotation = _rotations(pairs)
    scale = _scales(pairs)
    factor = scale * rotation
    weights = pairs.weights
    shift = factor * _shifts(pairs, factor, weights)
    alone = weights.sum(dim=1) <= 0
    factor = torch.where(alone, torch.ones_like(factor), factor)
    return factor, torch.where(alone, torch.zeros_like(shift), shift)


def _ascend(signs: Tensor, gain: Tensor) -> Tensor:
    """Flip single signs as long as sum_ij gain_ij s_i s_j rises."""
    for _ in range(4 * len(signs)):
        own = signs * (gain @ signs)
        worst = int(own.argmin())
        if own[worst] >= 0:
            break
        signs = signs.clone()
        signs[worst] = -signs[worst]
    return signs


def _doubtful_unflipped(signs: Tensor, agreement: Tensor, disagreement: Tensor, min_gain: float) -> Tensor:
    same = signs.unsqueeze(1) == signs.unsqueeze(0)
    off_diagonal = 1 - torch.eye(len(signs), dtype=torch.float64)
    chosen = (torch.where(same, agreement, disagreement) * off_diagonal).sum(dim=1)
    other = (torch.where(same, disagreement, agreement) * off_diagonal).sum(dim=1)
    doubtful = (signs < 0) & ((chosen <= (1 + min_gain) * other) | (chosen < _SLIGHT_SUPPORT * chosen.median()))
    return torch.where(doubtful, torch.ones_like(signs), signs)


def _rotations(pairs: PairRelations) -> Tensor:
    """Unit factors (N,) with factor_j = pair_ij factor_i as well as can be."""
    relation = pairs.factor / pairs.factor.abs().clamp(min=1e-12)
    weights = pairs.weights.double()
    result = _leading(relation, weights)
    for _ in range(_ROUNDS):
        gap = torch.angle(relation * result.unsqueeze(1) * result.conj().unsqueeze(0))
        result = _leading(relation, weights * _cauchy(gap, _ANGLE_SIGMA))
    mean = (weights.sum(dim=1) * result).sum()
    return result * torch.exp(-1j * torch.angle(mean))


def _leading(relation: Tensor, weights: Tensor) -> Tensor:
    """Phases of the leading eigenvector of the degree-normalised Hermitian matrix of relations."""
    matrix = weights * relation.conj()
    matrix = (matrix + matrix.conj().T) / 2
    degree = weights.sum(dim=1).clamp(min=1e-9).sqrt()
    _, vectors = torch.linalg.eigh(matrix / (degree.unsqueeze(1) * degree.unsqueeze(0)))
    lead = vectors[:, -1]
    size = lead.abs()
    return torch.where(size > 1e-9, lead / size.clamp(min=1e-12), torch.ones_like(lead))


def _scales(pairs: PairRelations) -> Tensor:
    """Scales (N,) from log scale_j - log scale_i = log |pair_ij|."""
    return _robust_potentials(pairs.factor.abs().log(), pairs.weights.double(), _LOG_SCALE_SIGMA).exp()


def _shifts(pairs: PairRelations, factor: Tensor, weights: Tensor) -> Tensor:
    """u_i = shift_i / factor_i from u_i - u_j = source / factor_i - target / factor_j, all in the common frame."""
    difference = pairs.target / factor.unsqueeze(0) - pairs.source / factor.unsqueeze(1)
    return _robust_potentials(difference, weights.double(), _SHIFT_SIGMA)


def _robust_potentials(difference: Tensor, weights: Tensor, sigma: float) -> Tensor:
    """x (N,) with x_j - x_i = difference_ij, Cauchy-weighted least squares, weighted mean 0."""
    result = _potentials(difference, weights)
    for _ in range(_ROUNDS):
        gap = (result.unsqueeze(0) - result.unsqueeze(1) - difference).abs()
        result = _potentials(difference, weights * _cauchy(gap, sigma))
    degree = weights.sum(dim=1)
    return result - (degree * result).sum() / degree.sum().clamp(min=1e-12)


def _potentials(difference: Tensor, weights: Tensor) -> Tensor:
    difference = torch.where(weights > 0, difference, torch.zeros_like(difference))
    both = weights + weights.T
    laplacian = both.sum(dim=1).diag() - both
    right = (weights * difference).sum(dim=0) - (weights * difference).sum(dim=1)
    inverse = torch.linalg.pinv(laplacian, hermitian=True, rtol=1e-9).to(right.dtype)
    result: Tensor = inverse @ right
    return result


def _cauchy(gap: Tensor, sigma: float) -> Tensor:
    return 1 / (1 + (gap / sigma).square())


def no_relations(count: int) -> PairRelations:
    """Relations of `count` images of which nothing is known, to be filled in place."""
    ones = torch.ones(count, count, dtype=torch.complex128)
    zeros = torch.zeros(count, count, dtype=torch.complex128)
    return PairRelations(ones, zeros, zeros.clone(), torch.zeros(count, count, dtype=torch.float64))
