"""Compression of a set's features: principal components, centred and partly whitened."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import normalize

from workers.backbones.base import Tick, no_tick

_FIT_CELLS = 20_000
_FIT_ELEMENTS = 1 << 26
_EXACT_SIZE = 1024
_OVERSAMPLED = 32
_POWER_STEPS = 6
_RANK_TOLERANCE = 1e-10


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


def fit_projection(
    features: Tensor, weights: Tensor, *, dim: int, whitening: float, tick: Tick = no_tick
) -> Projection:
    """Fit principal components to features.

    Args:
        features: (N, C, h, w), of which at most 20,000 cells and 64 Mi values are looked at.
        weights: (N, 1, h, w) of the cells, >= 0.
        dim: components asked for. There are fewer where there are fewer channels, or where the cells span less.
        whitening: 0 keeps the components' variances, 1 makes them equal.
        tick: called during the work.
    """
    table, flat = _samples(features, weights)
    share = (flat / flat.sum().clamp(min=1e-9)).unsqueeze(1)
    mean = (share * table).sum(dim=0)
    scaled = (table - mean) * share.sqrt()
    tick()
    values, vectors = principal_axes(scaled, dim, tick=tick)
    kept = max(1, int((values > _RANK_TOLERANCE * values[0]).sum()))
    values, vectors = values[:kept], _fixed_signs(vectors[:, :kept])
    floor = values.mean().clamp(min=1e-12) * 1e-2
    gains = (values + floor) ** (-whitening / 2)
    retained = float(values.sum() / scaled.square().sum().clamp(min=1e-12))
    return Projection(mean.float(), (vectors * gains).T.float().contiguous(), retained)


def principal_axes(table: Tensor, dim: int, *, tick: Tick = no_tick) -> tuple[Tensor, Tensor]:
    """Largest eigenvalues, descending, and eigenvectors (C, D) of table^T table, D = min(dim, M, C).

    Where both sides of the table exceed 1024 the axes are found by subspace iteration (Halko, Martinsson and Tropp,
    "Finding structure with randomness", SIAM Review 53, 2011, algorithm 4.4), else exactly, from the smaller side.

    Args:
        table: (M, C).
        dim: how many are asked for.
        tick: called during the work.
    """
    count, channels = table.shape
    dim = min(dim, count, channels)
    if min(count, channels) > _EXACT_SIZE:
        table = table @ (basis := _range_finder(table, dim + _OVERSAMPLED, tick))
        values, vectors = torch.linalg.eigh(table.T @ table)
        vectors = basis @ vectors
    elif channels <= count:
        values, vectors = torch.linalg.eigh(table.T @ table)
    else:
        values, vectors = torch.linalg.eigh(table @ table.T)
        vectors = normalize(table.T @ vectors, dim=0)
    tick()
    return values.flip(0)[:dim].clamp(min=0), vectors.flip(1)[:, :dim]


def _range_finder(table: Tensor, dim: int, tick: Tick) -> Tensor:
    """Orthonormal columns (C, dim) that nearly span the leading eigenvectors; always begun from the same vectors."""
    start = torch.randn(table.shape[1], dim, generator=torch.Generator().manual_seed(0), dtype=table.dtype)
    basis = start.to(table.device)
    for _ in range(_POWER_STEPS):
        basis, _ = torch.linalg.qr(table.T @ (table @ basis))
        tick()
    return basis


def _samples(features: Tensor, weights: Tensor) -> tuple[Tensor, Tensor]:
    """Evenly picked cells (M, C) and their weights (M,), in double precision."""
    channels = features.shape[1]
    flat = weights.reshape(-1)
    step = max(1, len(flat) // min(_FIT_CELLS, max(1, _FIT_ELEMENTS // channels)))
    cells = torch.arange(0, len(flat), step, device=features.device)
    area = features.shape[2] * features.shape[3]
    return features.flatten(2)[cells // area, :, cells % area].double(), flat[cells].double()


def _fixed_signs(vectors: Tensor) -> Tensor:
    """Each column's largest entry made positive, so that the result does not hang on the solver."""
    largest = vectors.gather(0, vectors.abs().argmax(dim=0, keepdim=True))
    return vectors * torch.where(largest < 0, -1.0, 1.0)
