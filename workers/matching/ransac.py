"""Robust similarity between two point sets with wrong matches among the right ones."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from workers.geometry.similarity import from_complex

_REFITS = 4
_MIN_MATCHES = 3
_BLOCK_ELEMENTS = 1 << 21


@dataclass(frozen=True)
class SimilarityFit:
    """A similarity z -> factor z + shift over the complex plane z = x + i y, and what supports it.

    Attributes:
        factor: () complex, s exp(i theta).
        shift: () complex.
        inliers: (M,) bool.
        support: sum of the inliers' weights; 0 when nothing could be fitted.
    """

    factor: Tensor
    shift: Tensor
    inliers: Tensor
    support: float

    @property
    def matrix(self) -> Tensor:
        """(2, 3)."""
        return from_complex(self.factor, self.shift)


def fit_similarity(source: Tensor, target: Tensor, weights: Tensor) -> tuple[Tensor, Tensor]:
    """Weighted least squares z -> factor z + shift between complex points (M,).

    Umeyama's problem in complex form: factor = cov(target, source) / var(source).
    """
    total = weights.sum().clamp(min=1e-12)
    source_mean, target_mean = (weights * source).sum() / total, (weights * target).sum() / total
    centred = source - source_mean
    spread = (weights * centred.abs().square()).sum().clamp(min=1e-12)
    factor = (weights * centred.conj() * (target - target_mean)).sum() / spread
    return factor, target_mean - factor * source_mean


def robust_similarity(
    source: Tensor,
    target: Tensor,
    *,
    weights: Tensor | None = None,
    threshold: float,
    samples: int = 200,
    max_scale: float = 3.0,
    generator: torch.Generator,
) -> SimilarityFit:
    """RANSAC over pairs of matches, then least squares on the inliers.

    A match supports a hypothesis when it is hit within `threshold` both forward in the target and backward in the
    source, so that hypotheses that shrink everything to a point gain nothing.

    Args:
        source: (M, 2) points.
        target: (M, 2) their partners.
        weights: (M,) trust in each match, >= 0; ones if None.
        threshold: distance, in the units of the points.
        samples: hypotheses, each from 2 matches.
        max_scale: hypotheses that scale by more than this, or by less than its inverse, are dropped.
        generator: draws the samples.
    """
    weights = torch.ones(len(source)) if weights is None else weights
    points = torch.complex(source[:, 0].double(), source[:, 1].double())
    partners = torch.complex(target[:, 0].double(), target[:, 1].double())
    if len(points) < _MIN_MATCHES:
        return _nothing(len(points))
    factor, shift = _hypotheses(points, partners, samples=samples, max_scale=max_scale, generator=generator)
    if len(factor) == 0:
        return _nothing(len(points))
    best = int(_supports(points, partners, weights.double(), factor, shift, threshold).argmax())
    return _refit(points, partners, weights.double(), factor[best], shift[best], threshold)


def two_sided_inliers(source: Tensor, target: Tensor, factor: Tensor, shift: Tensor, threshold: float) -> Tensor:
    """Which complex matches (M,) lie within the threshold of maps factor, shift (...), both ways; (..., M)."""
    error = (factor.unsqueeze(-1) * source + shift.unsqueeze(-1) - target).abs()
    return error <= threshold * factor.abs().clamp(max=1.0).unsqueeze(-1)


def _hypotheses(
    source: Tensor, target: Tensor, *, samples: int, max_scale: float, generator: torch.Generator
) -> tuple[Tensor, Tensor]:
    first = torch.randint(len(source), (samples,), generator=generator)
    offset = torch.randint(1, len(source), (samples,), generator=generator)
    second = (first + offset) % len(source)
    span = source[second] - source[first]
    usable = span.abs() > 1e-9
    factor = (target[second] - target[first])[usable] / span[usable]
    shift = target[first][usable] - factor * source[first][usable]
    sane = factor.abs().log().abs() <= math.log(max_scale)
    return factor[sane], shift[sane]


def _supports(
    source: Tensor, target: Tensor, weights: Tensor, factor: Tensor, shift: Tensor, threshold: float
) -> Tensor:
    """Sum of inlier weights of each hypothesis, in blocks of bounded memory."""
    block = max(1, _BLOCK_ELEMENTS // len(source))
    parts = []
    for begin in range(0, len(factor), block):
        part = slice(begin, begin + block)
        parts.append(two_sided_inliers(source, target, factor[part], shift[part], threshold).double() @ weights)
    return torch.cat(parts)


def _refit(
    source: Tensor, target: Tensor, weights: Tensor, factor: Tensor, shift: Tensor, threshold: float
) -> SimilarityFit:
    """Least squares on the inliers, as long as their support grows."""
    inliers = two_sided_inliers(source, target, factor, shift, threshold)
    for _ in range(_REFITS):
        new_factor, new_shift = fit_similarity(source[inliers], target[inliers], weights[inliers])
        new_inliers = two_sided_inliers(source, target, new_factor, new_shift, threshold)
        if (new_inliers.double() @ weights) < (inliers.double() @ weights):
            break
        factor, shift, inliers = new_factor, new_shift, new_inliers
    return SimilarityFit(factor, shift, inliers, float(inliers.double() @ weights))


def _nothing(count: int) -> SimilarityFit:
    one, zero = torch.ones((), dtype=torch.complex128), torch.zeros((), dtype=torch.complex128)
    return SimilarityFit(one, zero, torch.zeros(count, dtype=torch.bool), 0.0)
