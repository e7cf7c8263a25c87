"""A first alignment from feature matches between all pairs, before any gradient step."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import adaptive_avg_pool2d

from workers.geometry.coordinates import index_to_normalised
from workers.geometry.similarity import from_complex
from workers.geometry.synchronisation import (
    PairRelations,
    no_relations,
    synchronise_signs,
    synchronise_similarities,
)
from workers.matching.nearest import match
from workers.matching.ransac import SimilarityFit, robust_similarity
from workers.matching.subpixel import refine_matches
from workers.methods.neural_congealing.views import Frame

_CELLS = 32
_THRESHOLD = 0.08
_SAMPLES = 200
_MIN_SUPPORT = 6

Tick = Callable[[int, int], None]


@dataclass(frozen=True)
class Initialisation:
    """A similarity and an orientation for each image.

    Attributes:
        matrices: (N, 2, 3) atlas -> picture (mirrored where flagged), normalised.
        mirrored: (N,) bool.
        trust: (N,) >= 0, evidence that ties the image to the others; 0 for an image without any.
    """

    matrices: Tensor
    mirrored: Tensor
    trust: Tensor


@dataclass(frozen=True)
class PairEvidence:
    """Fits of every pair i < j, `as_is` and with j mirrored; (N, N) matrices, filled above the diagonal only."""

    as_is: PairRelations
    mirrored: PairRelations | None


def initialise(
    upright: Frame, turned: Frame | None, *, generator: torch.Generator, tick: Tick = lambda *_: None
) -> Initialisation:
    """Mutual matches, robust similarities, then synchronisation of flips, rotations, scales and shifts.

    Args:
        upright: the pictures as they are.
        turned: the pictures mirrored left to right; None leaves flips out.
        generator: draws the samples.
        tick: called with (done, total) after each pair.
    """
    evidence = match_pairs(upright, turned, generator=generator, tick=tick)
    return combine(evidence)


def combine(evidence: PairEvidence) -> Initialisation:
    """One frame for all images out of the pairs' fits."""
    count = len(evidence.as_is.weights)
    support = _symmetric(evidence.as_is.weights)
    if evidence.mirrored is None:
        signs = torch.ones(count, dtype=torch.float64)
    else:
        signs = synchronise_signs(support, _symmetric(evidence.mirrored.weights))
    pairs = _oriented_pairs(evidence, signs)
    factor, shift = synchronise_similarities(pairs)
    trust = _consistent_support(pairs, factor, shift)
    return Initialisation(from_complex(factor, shift).float(), signs < 0, trust.float())


def match_pairs(
    upright: Frame, turned: Frame | None, *, generator: torch.Generator, tick: Tick = lambda *_: None
) -> PairEvidence:
    """Robust similarities between all pairs of images."""
    images = _cells(upright)
    partners = [images] if turned is None else [images, _cells(turned)]
    count = len(images)
    tables = [no_relations(count) for _ in partners]
    pairs = [(i, j) for i in range(count) for j in range(i + 1, count)]
    for done, (i, j) in enumerate(pairs, start=1):
        for table, candidates in zip(tables, partners, strict=True):
            _record(table, i, j, *_fit_pair(images[i], candidates[j], generator))
        tick(done, len(pairs))
    return PairEvidence(tables[0], tables[1] if turned is not None else None)


@dataclass(frozen=True)
class _Cells:
    """One image pooled to 32 x 32 cells: descriptors (P, D), their map (D, 32, 32) and foreground (P,) bool."""

    descriptors: Tensor
    map: Tensor
    inside: Tensor


def _cells(frame: Frame) -> list[_Cells]:
    area = adaptive_avg_pool2d(frame.masks * frame.valid, _CELLS)
    pooled = adaptive_avg_pool2d(frame.features * frame.masks * frame.valid, _CELLS) / area.clamp(min=1e-6)
    return [
        _Cells(maps.flatten(1).T.contiguous(), maps, weight.flatten() > 0.5)
        for maps, weight in zip(pooled, area, strict=True)
    ]


def _fit_pair(first: _Cells, second: _Cells, generator: torch.Generator) -> tuple[SimilarityFit, Tensor]:
    matches = match(first.descriptors, second.descriptors, first_mask=first.inside, second_mask=second.inside)
    own = matches.mutual.nonzero().squeeze(1)
    source = _to_points(torch.stack([own % _CELLS, own // _CELLS], dim=1).float())
    target = _to_points(refine_matches(first.descriptors[own], second.map, matches.index[own]))
    weights = matches.similarity[own].clamp(min=0)
    fit = robust_similarity(
        source, target, weights=weights, threshold=_THRESHOLD, samples=_SAMPLES, generator=generator
    )
    return fit, source


def _to_points(index: Tensor) -> Tensor:
    return index_to_normalised(index, size=_CELLS)


def _record(table: PairRelations, i: int, j: int, fit: SimilarityFit, source: Tensor) -> None:
    """Fill entry (i, j); fits with hardly any support count as none."""
    if int(fit.inliers.sum()) < _MIN_SUPPORT:
        return
    points = torch.complex(source[:, 0].double(), source[:, 1].double())[fit.inliers]
    table.factor[i, j], table.weights[i, j] = fit.factor, fit.support
    table.source[i, j], table.target[i, j] = points.mean(), fit.factor * points.mean() + fit.shift


def _symmetric(upper: Tensor) -> Tensor:
    return upper + upper.T


def _oriented_pairs(evidence: PairEvidence, signs: Tensor) -> PairRelations:
    """The relations that hold once images with sign -1 are mirrored, with both directions filled.

    Mirroring both sides of z -> a z + b gives z -> conj(a) z - conj(b), and points p become -conj(p).
    """
    table = evidence.as_is
    factor, source, target, weights = table.factor, table.source, table.target, table.weights
    if evidence.mirrored is not None:
        other = evidence.mirrored
        same = signs.unsqueeze(1) == signs.unsqueeze(0)
        factor, source = torch.where(same, factor, other.factor), torch.where(same, source, other.source)
        target, weights = torch.where(same, target, other.target), torch.where(same, weights, other.weights)
        turned = (signs < 0).unsqueeze(1)
        factor = torch.where(turned, factor.conj(), factor)
        source = torch.where(turned, -source.conj(), source)
        target = torch.where(turned, -target.conj(), target)
    upper = weights > 0
    return PairRelations(
        torch.where(upper, factor, torch.where(upper.T, 1 / factor.T, factor)),
        torch.where(upper, source, target.T),
        torch.where(upper, target, source.T),
        _symmetric(weights),
    )


def _consistent_support(pairs: PairRelations, factor: Tensor, shift: Tensor) -> Tensor:
    """Support (N,) of each image from the pairs that agree with the common frame."""
    first = (pairs.source - shift.unsqueeze(1)) / factor.unsqueeze(1)
    second = (pairs.target - shift.unsqueeze(0)) / factor.unsqueeze(0)
    expected = factor.unsqueeze(0) / factor.unsqueeze(1)
    turn = (pairs.factor / expected).log().abs()
    agrees = ((first - second).abs() < 3 * _THRESHOLD) & (turn < 0.5)
    return (pairs.weights * agrees).sum(dim=1)
