"""Compression of a set's features: principal components, centred and partly whitened."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import normalize

_FIT_CELLS = 20_000


@dataclass(frozen=True)
class Projection:
    """Centring and partly whitening principal components: y = basis (x - mean).

    Attributes:
        mean: (C,).
        basis: (D, C).
        retained: share of the variance that the D components hold.
    """

    mean: Tensor
    basis: Tensor
    retained: float

    def __call__(self, features: Tensor) -> Tensor:
        """(M, C, h, w) to unit vectors (M, D, h, w)."""
        centred = features - self.mean.view(1, -1, 1, 1)
        return normalize(torch.einsum("dc,nchw->ndhw", self.basis, centred), dim=1)


def fit_projection(features: Tensor, weights: Tensor, *, dim: int, whitening: float) -> Projection:
    """Principal components of features (N, C, h, w) with weights (N, 1, h, w), from at most 20,000 cells."""
    table = features.permute(0, 2, 3, 1).reshape(-1, features.shape[1])
    flat = weights.reshape(-1)
    step = max(1, len(flat) // _FIT_CELLS)
    table, flat = table[::step].double(), flat[::step].double()
    total = flat.sum().clamp(min=1e-9)
    mean = (flat.unsqueeze(1) * table).sum(dim=0) / total
    centred = table - mean
    values, vectors = torch.linalg.eigh((centred * flat.unsqueeze(1)).T @ centred / total)
    values, vectors = values.flip(0).clamp(min=0), _fixed_signs(vectors.flip(1))
    kept = min(dim, len(values))
    floor = values[:kept].mean().clamp(min=1e-12) * 1e-2
    gains = (values[:kept] + floor) ** (-whitening / 2)
    retained = float(values[:kept].sum() / values.sum().clamp(min=1e-12))
    return Projection(mean.float(), (vectors[:, :kept] * gains).T.float().contiguous(), retained)


def _fixed_signs(vectors: Tensor) -> Tensor:
    """Each column's largest entry made positive, so that the result does not hang on the solver."""
    largest = vectors.gather(0, vectors.abs().argmax(dim=0, keepdim=True))
    return vectors * torch.where(largest < 0, -1.0, 1.0)
