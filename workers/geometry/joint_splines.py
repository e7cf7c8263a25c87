"""Smooth maps of N images to one common plane, from matches between pairs of them, most of which may be wrong.

Every image's map q_i is a cubic spline over [-1, 1]^2. Matches (a in image i, b in image j) ask for q_i(a) = q_j(b).
Iteratively reweighted least squares with the weights of Geman and McClure, whose reach shrinks round after round
(graduated non-convexity: Blake and Zisserman, "Visual Reconstruction", 1987), while the bending energy (Bookstein,
PAMI 11, 1989) counts less and less: the first rounds fit nearly affine maps, the last flexible ones. What keeps the
plane from collapsing is that the mean of all maps, each by how much its matches count, is the identity. Every round is
one linear system, the same for x and y.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from workers.backbones.base import Tick, no_tick
from workers.geometry.flows import bending_operator, flow_operator, identity_controls

PAIRS_AT_ONCE = 32
_MEAN_WEIGHT = 1e3
_RIDGE = 1e-6
_FIXED_WEIGHT = 1e6


@dataclass(frozen=True)
class PairedPoints:
    """K matches of each of P pairs of images, padded with weight 0.

    Attributes:
        first: (P,) images.
        second: (P,) other images.
        first_points: (P, K, 2) in [-1, 1].
        second_points: (P, K, 2), their partners.
        weights: (P, K), >= 0.
    """

    first: Tensor
    second: Tensor
    first_points: Tensor
    second_points: Tensor
    weights: Tensor


@dataclass(frozen=True)
class JointOptions:
    """How maps are fitted.

    Attributes:
        controls: of each spline, a side.
        rounds: of reweighting, at least 2.
        reach: distance in the plane at which a match counts a quarter, in the first and in the last round.
        stiffness: weight of the bending energy beside the mean squared distance, in the first and last round.
    """

    controls: int = 8
    rounds: int = 30
    reach: tuple[float, float] = (0.5, 0.07)
    stiffness: tuple[float, float] = (1.0, 2e-4)

    def at(self, round_: int) -> tuple[float, float]:
        """Reach and stiffness of a round, from 0; both fall by the same factor from round to round."""
        share = round_ / (self.rounds - 1)
        reach, stiffness = (first * (last / first) ** share for first, last in (self.reach, self.stiffness))
        return reach, stiffness


@dataclass(frozen=True)
class JointSplines:
    """Maps of N images to the common plane.

    Attributes:
        controls: (N, 2, n, n) control values, float64; `workers.geometry.flows` reads them.
        trust: (P, K) in [0, 1], how much each match counted in the last round; 0 for padding.
    """

    controls: Tensor
    trust: Tensor


def fit_joint_splines(
    matches: PairedPoints,
    images: int,
    options: JointOptions | None = None,
    *,
    fixed: Tensor | None = None,
    tick: Tick = no_tick,
) -> JointSplines:
    """Fit maps of all images; those without any match keep the identity.

    Args:
        matches: between any pairs.
        images: N.
        options: how.
        fixed: (N,) bool, images whose map is the identity and stays so; then these hold the plane, not the mean.
        tick: called many times a round; may raise.
    """
    options = options or JointOptions()
    weights = matches.weights.double()
    controls = identity_controls(options.controls).to(weights.device).expand(images, -1, -1, -1)
    trust = weights
    for round_ in range(options.rounds):
        reach, stiffness = options.at(round_)
        trust = _trust(matches, controls, reach, tick) * (weights > 0)
        controls = _solve(matches, trust * weights, controls.shape, stiffness, fixed, tick)
    return JointSplines(controls, trust)


def ticks_of_fit(pairs: int, options: JointOptions) -> int:
    """How often `fit_joint_splines` ticks."""
    return options.rounds * (2 * -(-pairs // PAIRS_AT_ONCE) + 1)


def _trust(matches: PairedPoints, controls: Tensor, reach: float, tick: Tick) -> Tensor:
    listed = controls.flatten(2).transpose(1, 2)
    weights = [matches.weights.new_zeros(0, matches.weights.shape[1]).double()]
    for part in _parts(matches):
        there, back = _operators(matches, part, controls.shape[-1])
        gaps = there @ listed[matches.first[part]] - back @ listed[matches.second[part]]
        weights.append((reach**2 / (gaps.square().sum(dim=2) + reach**2)).square())
        tick()
    return torch.cat(weights)


def _solve(
    matches: PairedPoints, weights: Tensor, shape: torch.Size, stiffness: float, fixed: Tensor | None, tick: Tick
) -> Tensor:
    """Controls (N, 2, n, n) of the least weighted squared gaps, bending, and way of the mean off the identity."""
    images, side = shape[0], shape[-1]
    size = side * side
    system = weights.new_zeros(images, images, size, size)
    for part in _parts(matches):
        _add_gaps(system, matches, part, weights[part], side)
        tick()
    shares = _shares(matches, weights, images)
    system /= weights.sum() / (shares > 0).sum().clamp(min=1) + _RIDGE
    own = torch.arange(images)
    ridge = torch.full_like(shares, _RIDGE)
    if fixed is not None:
        ridge, shares = torch.where(fixed, _FIXED_WEIGHT, ridge), torch.zeros_like(shares)
    system[own, own] += stiffness * bending_operator(side).to(weights) + ridge[:, None, None] * torch.eye(size).to(
        weights
    )
    system.diagonal(dim1=2, dim2=3).add_(_MEAN_WEIGHT * (shares.unsqueeze(1) * shares).unsqueeze(2))
    matrix = system.transpose(1, 2).reshape(images * size, images * size)
    pull = _MEAN_WEIGHT * shares + ridge
    wanted = pull[:, None, None] * identity_controls(side).to(weights).flatten(1).T
    found = torch.cholesky_solve(wanted.flatten(0, 1), torch.linalg.cholesky(matrix))
    tick()
    return found.view(images, size, 2).transpose(1, 2).reshape(shape)


def _shares(matches: PairedPoints, weights: Tensor, images: int) -> Tensor:
    """How much each image's matches count (N,), of all; sums to 1."""
    of_pairs = weights.sum(dim=1)
    totals = weights.new_zeros(images).index_add(0, matches.first, of_pairs).index_add(0, matches.second, of_pairs)
    return totals / totals.sum().clamp(min=_RIDGE)


def _add_gaps(system: Tensor, matches: PairedPoints, part: slice, weights: Tensor, side: int) -> None:
    """Add the normal equations of some pairs' gaps to blocks (N, N, n * n, n * n)."""
    there, back = _operators(matches, part, side)
    first, second = matches.first[part], matches.second[part]
    weighted_there, weighted_back = there * weights.unsqueeze(2), back * weights.unsqueeze(2)
    across = weighted_there.mT @ back
    system.index_put_((first, first), weighted_there.mT @ there, accumulate=True)
    system.index_put_((second, second), weighted_back.mT @ back, accumulate=True)
    system.index_put_((first, second), -across, accumulate=True)
    system.index_put_((second, first), -across.mT, accumulate=True)


def _operators(matches: PairedPoints, part: slice, side: int) -> tuple[Tensor, Tensor]:
    """Matrices (p, K, n * n) that read splines at the points of some pairs."""
    pair = (matches.first_points[part].double(), matches.second_points[part].double())
    there, back = (flow_operator(points.flatten(0, 1), side).view(*points.shape[:2], -1) for points in pair)
    return there, back


def _parts(matches: PairedPoints) -> list[slice]:
    return [slice(start, start + PAIRS_AT_ONCE) for start in range(0, len(matches.first), PAIRS_AT_ONCE)]


def solve_plainly(matches: PairedPoints, weights: Tensor, images: int, side: int, stiffness: float) -> Tensor:
    """What a round solves, as least squares with a row for each wish: controls (N, 2, n, n)."""
    size = side * side
    identity = identity_controls(side).flatten(1).T
    shares = _shares(matches, weights, images)
    an_image = weights.sum() / (shares > 0).sum() + _RIDGE
    gaps = []
    for pair, k in weights.nonzero().tolist():
        row = torch.zeros(images, size, dtype=torch.float64)
        row[matches.first[pair]] += flow_operator(matches.first_points[pair, k : k + 1].double(), side)[0]
        row[matches.second[pair]] -= flow_operator(matches.second_points[pair, k : k + 1].double(), side)[0]
        gaps.append((weights[pair, k] / an_image).sqrt() * row.flatten())
    variances, vectors = torch.linalg.eigh(stiffness * bending_operator(side))
    bending = torch.kron(torch.eye(images), variances.clamp(min=0).sqrt().unsqueeze(1) * vectors.T)
    mean = _MEAN_WEIGHT**0.5 * torch.kron(shares, torch.eye(size))
    ridge = _RIDGE**0.5 * torch.eye(images * size, dtype=torch.float64)
    matrix = torch.cat([torch.stack(gaps), bending, mean, ridge])
    nothing = torch.zeros(len(gaps) + len(bending), 2, dtype=torch.float64)
    wanted = [nothing, _MEAN_WEIGHT**0.5 * identity, _RIDGE**0.5 * identity.repeat(images, 1)]
    found: Tensor = torch.linalg.lstsq(matrix, torch.cat(wanted), driver="gelsd").solution
    return found.view(images, size, 2).transpose(1, 2).reshape(images, 2, side, side)
