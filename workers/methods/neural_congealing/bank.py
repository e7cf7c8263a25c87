"""Rotated and zoomed views of every picture, and how each pair of pictures lies to each other by their correlations."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cache

import torch
from torch import Tensor

from workers.geometry.similarity import similarity_matrix
from workers.geometry.synchronisation import PairRelations, no_relations
from workers.matching.correlation import best_shift, correlate, spatial_whitening, spectra
from workers.methods.neural_congealing.coarse_views import CoarseViews
from workers.methods.neural_congealing.pair_matches import PairEvidence, Tick, unknown_pairs

_ANGLE_STEP = math.radians(20)
_ANGLES = 2
_SCALE_STEP = 1.25
_CHANCE_PEAK = 0.7


@dataclass(frozen=True)
class View:
    """A turn by `angle` steps of 20 degrees and a zoom by `scale` steps of 1.25."""

    angle: int
    scale: int

    @property
    def factor(self) -> complex:
        """View -> picture over the complex plane."""
        turn = _ANGLE_STEP * self.angle
        size: float = _SCALE_STEP**self.scale
        return complex(size * math.cos(turn), size * math.sin(turn))


_ALL_TURNS = tuple(range(-_ANGLES, _ANGLES + 1))
_WIDE_TURNS = (-_ANGLES, 0, _ANGLES)
_ZOOMS = (-1, 1)

UPRIGHT_VIEWS = (*(View(a, 0) for a in _ALL_TURNS), *(View(a, s) for a in _WIDE_TURNS for s in _ZOOMS))
"""Of the pictures as they are. As on a sparse ruler, few views make many relative turns and zooms between two."""
TURNED_VIEWS = (*(View(a, 0) for a in _WIDE_TURNS), *(View(0, s) for s in _ZOOMS))
"""Of the mirrored pictures: fewer are enough, as the other picture of a pair has views at all angles."""


@dataclass(frozen=True)
class Bank:
    """Whitened spectra of views.

    Attributes:
        upright: (N, K, D, n, m) complex, of the pictures as they are in `UPRIGHT_VIEWS`.
        turned: (N, L, D, n, m) of the mirrored pictures in `TURNED_VIEWS`; None without flips.
        cells: side of the views' maps.
    """

    upright: Tensor
    turned: Tensor | None
    cells: int


def view_matrices(views: tuple[View, ...]) -> Tensor:
    """The similarities view -> picture (K, 2, 3)."""
    rows = [[_ANGLE_STEP * view.angle, _SCALE_STEP**view.scale, 0.0, 0.0] for view in views]
    return similarity_matrix(torch.tensor(rows))


def view_count(images: int, *, flips: bool, anchors: Tensor | None) -> int:
    """How many times `describe_bank` calls its tick."""
    return images + (images - (0 if anchors is None else int(anchors.sum())) if flips else 0)


def describe_bank(
    coarse: CoarseViews, *, flips: bool, tick: Tick = lambda *_: None, anchors: Tensor | None = None
) -> Bank:
    """Describe every image in every view, anchors as they are only, and whiten the spectra."""
    total, done = view_count(coarse.count, flips=flips, anchors=anchors), 0
    upright, turned = [], []
    for image in range(coarse.count):
        upright.append(_view_spectra(coarse, image, UPRIGHT_VIEWS, mirrored=False))
        done += 1
        tick(done, total)
    for image in range(coarse.count if flips else 0):
        if anchors is not None and bool(anchors[image]):
            turned.append(torch.zeros_like(upright[image][: len(TURNED_VIEWS)]))
            continue
        turned.append(_view_spectra(coarse, image, TURNED_VIEWS, mirrored=True))
        done += 1
        tick(done, total)
    power = torch.stack([row.abs().square().sum(dim=0) for row in upright]).sum(dim=0)
    gains = spatial_whitening(power / (coarse.count * len(UPRIGHT_VIEWS)))
    return Bank(
        torch.stack([row.mul_(gains) for row in upright]),
        torch.stack([row.mul_(gains) for row in turned]) if turned else None,
        coarse.cells,
    )


def _view_spectra(coarse: CoarseViews, image: int, views: tuple[View, ...], *, mirrored: bool) -> Tensor:
    features, area = coarse.look(image, view_matrices(views), mirrored=mirrored)
    return spectra(features * area)


def pair_peaks(bank: Bank, *, tick: Tick = lambda *_: None, anchors: Tensor | None = None) -> PairEvidence:
    """The best relative similarity of each pair; the weight tells how far its peak stands out among all pairs'.

    Relations between anchors are not looked for.
    """
    count = len(bank.upright)
    upright, turned = no_relations(count), no_relations(count)
    pairs = unknown_pairs(count, anchors)
    for done, (i, j) in enumerate(pairs, start=1):
        _record_peak(upright, (i, j), bank.upright[i], bank.upright[j], UPRIGHT_VIEWS, bank.cells)
        if bank.turned is not None and anchors is not None and bool(anchors[j]):
            _record_peak(turned, (j, i), bank.upright[j], bank.turned[i], TURNED_VIEWS, bank.cells)
            _turn_around(turned, j, i)
        elif bank.turned is not None:
            _record_peak(turned, (i, j), bank.upright[i], bank.turned[j], TURNED_VIEWS, bank.cells)
        tick(done, len(pairs))
    peaks = upright.weights[upright.weights > 0]
    typical = float(peaks.median()) if len(peaks) else 1.0
    for table in (upright, turned):
        table.weights.copy_((table.weights / typical - _CHANCE_PEAK).clamp(min=0).square())
    return PairEvidence(upright, turned if bank.turned is not None else None)


def _record_peak(
    table: PairRelations, at: tuple[int, int], one: Tensor, other: Tensor, views: tuple[View, ...], cells: int
) -> None:
    """Fill entry `at`: view p of the one lies at p + shift in a view of the other; z = factor p ties both to pictures.

    Args:
        table: to fill.
        at: the pair.
        one: (K, D, n, m) spectra of `UPRIGHT_VIEWS`.
        other: (L, D, n, m) spectra of `views`.
        views: of the other.
        cells: side of the maps.
    """
    pairs = view_pairs(views)
    first, second = torch.tensor([a for a, _ in pairs]), torch.tensor([b for _, b in pairs])
    values, shifts = best_shift(correlate(one[first], other[second]))
    best = int(values.argmax())
    a, b = UPRIGHT_VIEWS[pairs[best][0]].factor, views[pairs[best][1]].factor
    half_shift = complex(*(shifts[best].double() / cells).tolist())
    relation = torch.tensor([b / a, -a * half_shift, b * half_shift], dtype=torch.complex128)
    table.factor[at], table.source[at], table.target[at] = relation
    table.weights[at] = values[best].double().clamp(min=0)


@cache
def view_pairs(views: tuple[View, ...]) -> list[tuple[int, int]]:
    """Pairs (upright view, view of `views`) that show each relative turn and zoom once, from as little as can be."""
    best: dict[tuple[int, int], tuple[int, int, int]] = {}
    for b, other in enumerate(views):
        for a, one in enumerate(UPRIGHT_VIEWS):
            relative = (other.angle - one.angle, other.scale - one.scale)
            effort = one.angle**2 + other.angle**2 + one.scale**2 + other.scale**2
            best[relative] = min(best.get(relative, (effort, a, b)), (effort, a, b))
    return [(a, b) for _, a, b in (best[relative] for relative in sorted(best))]


def _turn_around(table: PairRelations, j: int, i: int) -> None:
    """Move an entry (j, i), j as it is and i mirrored, to (i, j): i as it is and j mirrored.

    Mirroring both sides and inverting makes z_i' = f z_j + s the relation z_j' = z_i / conj(f) + ...
    """
    table.factor[i, j] = 1 / table.factor[j, i].conj()
    table.source[i, j], table.target[i, j] = -table.target[j, i].conj(), -table.source[j, i].conj()
    table.weights[i, j], table.weights[j, i] = table.weights[j, i].clone(), 0.0
