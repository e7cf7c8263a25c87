"""Evidence from feature matches: a robust similarity for every pair of images."""

from __future__ import annotations

import statistics
from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor
from torch.nn.functional import adaptive_avg_pool2d

from workers.geometry.coordinates import index_to_normalised
from workers.geometry.synchronisation import PairRelations, no_relations
from workers.matching.nearest import match
from workers.matching.ransac import SimilarityFit, robust_similarity
from workers.matching.subpixel import refine_matches
from workers.methods.neural_congealing.views import Frame

MATCH_CELLS = 32
INLIER_DISTANCE = 0.08
_SAMPLES = 200
_MIN_INLIERS = 6
_ANCHOR_PAIRS = 8

Tick = Callable[[int, int], None]


@dataclass(frozen=True)
class PairEvidence:
    """Fits of every pair i < j, `as_is` and with j mirrored; (N, N) matrices, filled above the diagonal only.

    Pairs of anchors are left out. `anchor_support` is how much matches support the relation of two anchors, typically;
    0 where there are fewer than two or nobody looked.
    """

    as_is: PairRelations
    mirrored: PairRelations | None
    anchor_support: float = 0.0


def unknown_pairs(count: int, anchors: Tensor | None) -> list[tuple[int, int]]:
    """Pairs (i, j), i < j, of `count` images that are not both anchors: how these lie to each other is known."""
    still = [False] * count if anchors is None else anchors.tolist()
    return [(i, j) for i in range(count) for j in range(i + 1, count) if not (still[i] and still[j])]


def match_pairs(
    upright: Frame,
    turned: Frame | None,
    *,
    generator: torch.Generator,
    tick: Tick = lambda *_: None,
    anchors: Tensor | None = None,
) -> PairEvidence:
    """Mutual nearest neighbours and RANSAC similarities between all pairs of images, but for pairs of anchors.

    Args:
        upright: the pictures as they are.
        turned: the pictures mirrored left to right; None leaves flips out.
        generator: draws the samples.
        tick: called with (done, total) after each pair.
        anchors: (N,) bool, or None.
    """
    images = _cells(upright)
    partners = [images] if turned is None else [images, _cells(turned)]
    tables = [no_relations(len(images)) for _ in partners]
    pairs = unknown_pairs(len(images), anchors)
    for done, (i, j) in enumerate(pairs, start=1):
        for table, candidates in zip(tables, partners, strict=True):
            _record(table, i, j, *_fit_pair(images[i], candidates[j], generator))
        tick(done, len(pairs))
    support = 0.0 if anchors is None else _anchor_support(images, anchors, generator)
    return PairEvidence(tables[0], tables[1] if turned is not None else None, support)


@dataclass(frozen=True)
class _Cells:
    """One image pooled to 32 x 32 cells: descriptors (P, D), their map (D, 32, 32) and foreground (P,) bool."""

    descriptors: Tensor
    map: Tensor
    inside: Tensor


def _cells(frame: Frame) -> list[_Cells]:
    area = adaptive_avg_pool2d(frame.masks * frame.valid, MATCH_CELLS)
    pooled = adaptive_avg_pool2d(frame.features * frame.masks * frame.valid, MATCH_CELLS) / area.clamp(min=1e-6)
    described = pooled.abs().amax(dim=1, keepdim=True) > 0
    return [
        _Cells(maps.flatten(1).T.contiguous(), maps, inside.flatten())
        for maps, inside in zip(pooled, (area > 0.5) & described, strict=True)
    ]


def _fit_pair(first: _Cells, second: _Cells, generator: torch.Generator) -> tuple[SimilarityFit, Tensor]:
    matches = match(first.descriptors, second.descriptors, first_mask=first.inside, second_mask=second.inside)
    own = matches.mutual.nonzero().squeeze(1)
    source = _to_points(torch.stack([own % MATCH_CELLS, own // MATCH_CELLS], dim=1).float())
    target = _to_points(refine_matches(first.descriptors[own], second.map, matches.index[own]))
    weights = matches.similarity[own].clamp(min=0)
    fit = robust_similarity(
        source, target, weights=weights, threshold=INLIER_DISTANCE, samples=_SAMPLES, generator=generator
    )
    return fit, source


def _anchor_support(images: list[_Cells], anchors: Tensor, generator: torch.Generator) -> float:
    """Median support of some pairs of anchors."""
    known = anchors.nonzero().flatten().tolist()
    neighbours = list(pairwise(known))[:_ANCHOR_PAIRS]
    supports = [_fit_pair(images[i], images[j], generator)[0].support for i, j in neighbours]
    return statistics.median(supports) if supports else 0.0


def _to_points(index: Tensor) -> Tensor:
    return index_to_normalised(index, size=MATCH_CELLS)


def _record(table: PairRelations, i: int, j: int, fit: SimilarityFit, source: Tensor) -> None:
    """Fill entry (i, j); fits with hardly any support count as none."""
    if int(fit.inliers.sum()) < _MIN_INLIERS:
        return
    points = torch.complex(source[:, 0].double(), source[:, 1].double())[fit.inliers]
    table.factor[i, j], table.weights[i, j] = fit.factor, fit.support
    table.source[i, j], table.target[i, j] = points.mean(), fit.factor * points.mean() + fit.shift
