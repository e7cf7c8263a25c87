"""Which images show the object the other way round, left for right.

Every pair is matched as it is and with one of the two mirrored. A similarity fitted to the matches of each tells how
many of them agree; the signs of all images follow from the pairs (`workers.geometry.synchronisation`).
"""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor
from torch.nn.functional import pad

from workers.geometry.joint_splines import PairedPoints
from workers.geometry.synchronisation import synchronise_signs

MIN_GAIN = 0.3
"""By this share an image's support must rise for it to count as mirrored: photographs mostly face the same way."""
REACH = (0.7, 0.1)
_ROUNDS = 20
_RIDGE = 1e-6


def pair_support(matches: PairedPoints) -> Tensor:
    """How many matches (P,) of each pair agree with one similarity, found by reweighted least squares.

    The weights are those of `fit_joint_splines`; a pair counts as many matches as the last weights add up to.
    """
    first, second = (
        torch.view_as_complex(ends.double().contiguous()) for ends in (matches.first_points, matches.second_points)
    )
    given = matches.weights.double()
    trust = given
    for round_ in range(_ROUNDS):
        reach = REACH[0] * (REACH[1] / REACH[0]) ** (round_ / (_ROUNDS - 1))
        gaps = _similarity_gaps(first, second, trust)
        trust = given * (reach**2 / (gaps + reach**2)).square()
    return trust.sum(dim=1)


def _similarity_gaps(first: Tensor, second: Tensor, weights: Tensor) -> Tensor:
    """Squared gaps (P, K) after the best similarity of weighted complex points (P, K)."""
    total = weights.sum(dim=1, keepdim=True) + _RIDGE
    here = first - (weights * first).sum(dim=1, keepdim=True) / total
    there = second - (weights * second).sum(dim=1, keepdim=True) / total
    spread = (weights * here.abs().square()).sum(dim=1, keepdim=True) + _RIDGE
    factor = (weights * here.conj() * there).sum(dim=1, keepdim=True) / spread
    return (there - factor * here).abs().square()


def mirrored_images(
    as_they_are: PairedPoints, first_mirrored: PairedPoints, images: int, anchors: Tensor | None = None
) -> Tensor:
    """Images (N,) bool to be mirrored, by the matches of the same pairs as they are and with the first mirrored.

    `anchors` (N,) bool are known to be the right way round.
    """
    agreement, disagreement = (_symmetric(matches, images) for matches in (as_they_are, first_mirrored))
    fixed = None if anchors is None else anchors.cpu()
    return (synchronise_signs(agreement, disagreement, min_gain=MIN_GAIN, fixed=fixed) < 0).to(as_they_are.first.device)


def _symmetric(matches: PairedPoints, images: int) -> Tensor:
    support = torch.zeros(images, images, dtype=torch.float64)
    found = pair_support(matches).cpu()
    first, second = matches.first.cpu(), matches.second.cpu()
    support[first, second] = found
    support[second, first] = found
    return support


def oriented(as_they_are: PairedPoints, first_mirrored: PairedPoints, mirrored: Tensor) -> PairedPoints:
    """The matches of all pairs with images (N,) bool mirrored: each in the frame of its image, mirrored or not.

    Args:
        as_they_are: of all pairs.
        first_mirrored: of the same pairs, the first image's points in its mirrored frame.
        mirrored: images to be mirrored. Where both of a pair are, matches as they are count, mirrored; where only the
            second is, those with the first mirrored, both turned around.
    """
    width = max(as_they_are.weights.shape[1], first_mirrored.weights.shape[1])
    plain, other = _padded(as_they_are, width), _padded(first_mirrored, width)
    turned = mirrored[as_they_are.second].view(-1, 1, 1)
    apart = mirrored[as_they_are.first] != mirrored[as_they_are.second]
    side = torch.where(turned, -1.0, 1.0)
    sides = torch.cat([side, torch.ones_like(side)], dim=2)
    chosen = [
        torch.where(apart.view(-1, *[1] * (mine.dim() - 1)), theirs, mine)
        for mine, theirs in (
            (plain.first_points, other.first_points),
            (plain.second_points, other.second_points),
            (plain.weights, other.weights),
        )
    ]
    return replace(plain, first_points=chosen[0] * sides, second_points=chosen[1] * sides, weights=chosen[2])


def _padded(matches: PairedPoints, width: int) -> PairedPoints:
    missing = width - matches.weights.shape[1]
    return replace(
        matches,
        first_points=pad(matches.first_points, (0, 0, 0, missing)),
        second_points=pad(matches.second_points, (0, 0, 0, missing)),
        weights=pad(matches.weights, (0, missing)),
    )
