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
_SWEEPS = 3
_NO_VOTE = 1e-12


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


def synchronise_signs(
    agreement: Tensor, disagreement: Tensor, *, min_gain: float = 0.1, fixed: Tensor | None = None
) -> Tensor:
    """Signs (N,) of +-1 that explain which pairs agree as they are and which with one of them mirrored.

    The leading eigenvector of (P - Q) / (P + Q) starts a greedy ascent of the support sum_ij P or Q. A sign differs
    from the majority only where that raises the image's own support by more than the share `min_gain`, and where
    there is support worth the name.

    Args:
        agreement: (N, N) symmetric support P when both are as they are (or both mirrored).
        disagreement: (N, N) symmetric support Q when one of the two is mirrored.
        min_gain: share by which mirroring must raise an image's support.
        fixed: (N,) bool, images whose sign is +1 whatever the others want; then these, not the majority, decide
            what +1 means.
    """
    total = (agreement + disagreement).double()
    typical = total.mean().clamp(min=1e-12)
    margin = (agreement - disagreement).double() / (total + 0.1 * typical)
    margin = margin - margin.diagonal().diag()
    gain = (agreement - disagreement).double()
    gain = gain - gain.diagonal().diag()
    _, vectors = torch.linalg.eigh((margin + margin.T) / 2)
    lead = vectors[:, -1]
    if fixed is None:
        signs = _majority_positive(_ascend(_signs_of(lead), gain))
    else:
        lead = lead * (-1.0 if float(lead[fixed].sum()) < 0 else 1.0)
        signs = _ascend(torch.where(fixed, 1.0, _signs_of(lead)), gain, fixed)
    return _doubtful_unflipped(signs, agreement.double(), disagreement.double(), min_gain)


def synchronise_similarities(pairs: PairRelations, *, fixed: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """Maps z_i = factor_i w + shift_i (N,), (N,) complex128 from a common frame w to each image.

    Gauge: the weighted mean log-scale, rotation and shift are 0. Images without relations get the identity.

    Args:
        pairs: relations between the images.
        fixed: (N,) bool, images that stand in the common frame: their maps are the identity, exactly, and set the
            gauge. Relations between two of them are not looked at.
    """
    rotation = _rotations(pairs, fixed)
    scale = _scales(pairs, fixed)
    factor = scale * rotation
    weights = pairs.weights
    shift = factor * _shifts(pairs, factor, weights, fixed)
    alone = weights.sum(dim=1) <= 0
    if fixed is not None:
        alone = alone | fixed
    factor = torch.where(alone, torch.ones_like(factor), factor)
    return factor, torch.where(alone, torch.zeros_like(shift), shift)


def _signs_of(values: Tensor) -> Tensor:
    return torch.where(values >= 0, 1.0, -1.0).double()


def _majority_positive(signs: Tensor) -> Tensor:
    """The same signs or all turned around, so that most are +1; on a tie the first is."""
    negative = int((signs < 0).sum()) * 2
    turned = negative > len(signs) or (negative == len(signs) and bool(signs[0] < 0))
    return -signs if turned else signs


def _ascend(signs: Tensor, gain: Tensor, fixed: Tensor | None = None) -> Tensor:
    """Flip single signs, but none that is fixed, as long as sum_ij gain_ij s_i s_j rises."""
    for _ in range(4 * len(signs)):
        own = signs * (gain @ signs)
        own = own if fixed is None else own.masked_fill(fixed, torch.inf)
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


def _rotations(pairs: PairRelations, fixed: Tensor | None) -> Tensor:
    """Unit factors (N,) with factor_j = pair_ij factor_i as well as can be."""
    relation = pairs.factor / pairs.factor.abs().clamp(min=1e-12)
    weights = pairs.weights.double()
    result = _leading(relation, weights)
    for _ in range(_ROUNDS):
        gap = torch.angle(relation * result.unsqueeze(1) * result.conj().unsqueeze(0))
        trusted = weights * _cauchy(gap, _ANGLE_SIGMA)
        result = _leading(relation, trusted)
        if fixed is not None:
            result = _tied(relation, trusted, _turned(result, fixed.double()), fixed)
    return _turned(result, weights.sum(dim=1)) if fixed is None else result


def _turned(rotations: Tensor, weights: Tensor) -> Tensor:
    """Rotations (N,) relative to their weighted mean."""
    return rotations * torch.exp(-1j * torch.angle((weights * rotations).sum()))


def _tied(relation: Tensor, weights: Tensor, rotations: Tensor, fixed: Tensor) -> Tensor:
    """Rotations (N,) that are 1 where fixed and elsewhere agree with the others', by relaxation from a good start."""
    result = torch.where(fixed, torch.ones_like(rotations), rotations)
    for _ in range(_SWEEPS):
        for j in (~fixed).nonzero().flatten().tolist():
            vote = (weights[:, j] * relation[:, j] * result).sum()
            result[j] = vote / vote.abs() if float(vote.abs()) > _NO_VOTE else result[j]
    return result


def _leading(relation: Tensor, weights: Tensor) -> Tensor:
    """Phases of the leading eigenvector of the degree-normalised Hermitian matrix of relations."""
    matrix = weights * relation.conj()
    matrix = (matrix + matrix.conj().T) / 2
    degree = weights.sum(dim=1).clamp(min=1e-9).sqrt()
    _, vectors = torch.linalg.eigh(matrix / (degree.unsqueeze(1) * degree.unsqueeze(0)))
    lead = vectors[:, -1]
    size = lead.abs()
    return torch.where(size > 1e-9, lead / size.clamp(min=1e-12), torch.ones_like(lead))


def _scales(pairs: PairRelations, fixed: Tensor | None) -> Tensor:
    """Scales (N,) from log scale_j - log scale_i = log |pair_ij|."""
    return _robust_potentials(pairs.factor.abs().log(), pairs.weights.double(), _LOG_SCALE_SIGMA, fixed).exp()


def _shifts(pairs: PairRelations, factor: Tensor, weights: Tensor, fixed: Tensor | None) -> Tensor:
    """u_i = shift_i / factor_i from u_i - u_j = source / factor_i - target / factor_j, all in the common frame."""
    difference = pairs.target / factor.unsqueeze(0) - pairs.source / factor.unsqueeze(1)
    return _robust_potentials(difference, weights.double(), _SHIFT_SIGMA, fixed)


def _robust_potentials(difference: Tensor, weights: Tensor, sigma: float, fixed: Tensor | None) -> Tensor:
    """x (N,) with x_j - x_i = difference_ij, Cauchy-weighted least squares; weighted mean 0, or 0 where fixed."""
    free = torch.ones(len(weights), dtype=torch.bool) if fixed is None else ~fixed
    result = _potentials(difference, weights, free)
    for _ in range(_ROUNDS):
        gap = (result.unsqueeze(0) - result.unsqueeze(1) - difference).abs()
        result = _potentials(difference, weights * _cauchy(gap, sigma), free)
    if fixed is not None:
        return result
    degree = weights.sum(dim=1)
    return result - (degree * result).sum() / degree.sum().clamp(min=1e-12)


def _potentials(difference: Tensor, weights: Tensor, free: Tensor) -> Tensor:
    """Least squares x (N,), 0 where not free."""
    difference = torch.where(weights > 0, difference, torch.zeros_like(difference))
    both = weights + weights.T
    laplacian = (both.sum(dim=1).diag() - both)[free][:, free]
    right = ((weights * difference).sum(dim=0) - (weights * difference).sum(dim=1))[free]
    inverse = torch.linalg.pinv(laplacian, hermitian=True, rtol=1e-9).to(right.dtype)
    result = torch.zeros(len(weights), dtype=right.dtype)
    result[free] = inverse @ right
    return result


def _cauchy(gap: Tensor, sigma: float) -> Tensor:
    return 1 / (1 + (gap / sigma).square())


def no_relations(count: int) -> PairRelations:
    """Relations of `count` images of which nothing is known, to be filled in place."""
    ones = torch.ones(count, count, dtype=torch.complex128)
    zeros = torch.zeros(count, count, dtype=torch.complex128)
    return PairRelations(ones, zeros, zeros.clone(), torch.zeros(count, count, dtype=torch.float64))
