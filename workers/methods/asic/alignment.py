"""Maps of all images to one plane from their matches alone: the explicit form of ASIC, without any network.

The contrastive loss of ASIC (arXiv 2303.16201) draws matched places together in the canonical plane. Here the maps are
splines, found by robust least squares on the same matches (`workers.geometry.joint_splines`): some seconds in place of
an hour. A second fit believes matches by how well their surroundings were supported in the first.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from workers.backbones.base import Tick, no_tick
from workers.geometry.flows import dense_flow, evaluate_flow
from workers.geometry.inversion import jacobian_determinant
from workers.geometry.joint_splines import JointOptions, PairedPoints, fit_joint_splines, ticks_of_fit
from workers.methods.asic.flips import mirrored_images, oriented
from workers.methods.asic.matching import Cells, Pair, chosen_cells, matched
from workers.methods.asic.support import cell_index, weighted_by_support
from workers.methods.base import UnfitImagesError

MIRRORED_GAIN = 1.2
"""By this much more the matches of mirrored images must agree with the maps than without any mirroring."""
_REACH = 0.1
_TRUSTED = 0.25
_RIM = 0.9
_TAIL = 0.01
_SUPPORT_CELLS = 32
_ORIENTED_CELLS = 32


class NoMatchesError(UnfitImagesError):
    """No two images of a set have anything to match."""

    def __init__(self) -> None:
        super().__init__(
            "no two images have a single match: where masks are given, check that they cover the objects, in white; "
            "else take larger images or another backbone"
        )


@dataclass(frozen=True)
class AlignOptions:
    """How images are aligned.

    Attributes:
        most_matches: of a pair; None takes all.
        guided_rounds: how often images are matched again, each near to where the maps found so far say.
        splines: how maps are fitted.
    """

    most_matches: int | None = 300
    guided_rounds: int = 2
    splines: JointOptions = field(default_factory=JointOptions)


@dataclass(frozen=True)
class SplineAlignment:
    """Maps of N images to the canonical plane.

    Attributes:
        controls: (N, 2, n, n) of the splines, in frames that are mirrored where flagged.
        mirrored: (N,) bool.
        matches: of all pairs, in the same frames, each of weight 1.
        trust: (P, K) in [0, 1], by how much each match agrees with the maps.
    """

    controls: Tensor
    mirrored: Tensor
    matches: PairedPoints
    trust: Tensor


def align(
    upright: Cells,
    turned: Cells | None,
    pairs: Sequence[Pair],
    options: AlignOptions,
    *,
    fixed: Tensor | None = None,
    tick: Tick = no_tick,
) -> SplineAlignment:
    """Align N images.

    Args:
        upright: cells of the images as they are.
        turned: of the mirrored images; None leaves all as they are. Only the first images of pairs are read.
        pairs: images to match with each other.
        options: how.
        fixed: (N,) bool, images that stand in the canonical plane already: they are not mirrored, and the others come
            to them. None lets all images form the plane.
        tick: called many times; may raise.

    Raises:
        NoMatchesError: there is no match at all.
    """
    images = len(upright.places)
    plain = matched(upright, upright, pairs, most=options.most_matches, tick=tick)
    if not bool(plain.weights.any()):
        raise NoMatchesError
    as_they_are = fit_matches(plain, images, options.splines, fixed=fixed, tick=tick)
    found = (
        as_they_are if turned is None else _oriented(upright, turned, pairs, plain, as_they_are, options, fixed, tick)
    )
    cells = upright if turned is None else chosen_cells(upright, turned, found.mirrored)
    for _ in range(options.guided_rounds):
        found = _guided(found, cells, pairs, options, fixed, tick)
    return found


def expected_ticks(pairs: int, options: AlignOptions, *, flips: bool) -> int:
    """How often `align` ticks at most, to tell how far it is."""
    matchings = 1 + flips + options.guided_rounds
    fits = 2 * (1 + flips) + options.guided_rounds
    return matchings * pairs + fits * ticks_of_fit(pairs, options.splines)


def _oriented(
    upright: Cells,
    turned: Cells,
    pairs: Sequence[Pair],
    plain: PairedPoints,
    as_they_are: SplineAlignment,
    options: AlignOptions,
    fixed: Tensor | None,
    tick: Tick,
) -> SplineAlignment:
    """The alignment with images mirrored, where that explains clearly more, else the one as they are."""
    images = len(upright.places)
    first_mirrored = matched(turned, upright, pairs, most=options.most_matches, tick=tick)
    mirrored = mirrored_images(plain, first_mirrored, images, fixed)
    if not bool(mirrored.any()):
        return as_they_are
    turned_matches = oriented(plain, first_mirrored, mirrored)
    other = replace(fit_matches(turned_matches, images, options.splines, fixed=fixed, tick=tick), mirrored=mirrored)
    changed = mirrored[plain.first] != mirrored[plain.second]
    gained = _upright_trust(other)[changed].sum() > MIRRORED_GAIN * _upright_trust(as_they_are)[changed].sum()
    return other if bool(gained) else as_they_are


def _guided(
    found: SplineAlignment,
    cells: Cells,
    pairs: Sequence[Pair],
    options: AlignOptions,
    fixed: Tensor | None,
    tick: Tick,
) -> SplineAlignment:
    """Match again, near to where the maps say, and fit anew; what is said of the matches stays about the first ones."""
    images = len(cells.places)
    plane = [evaluate_flow(found.controls[i : i + 1], own.to(found.controls))[0] for i, own in enumerate(cells.places)]
    again = matched(cells, cells, pairs, most=options.most_matches, plane=plane, tick=tick)
    weighted = weighted_by_support(again, agreement(again, found.controls), images, _SUPPORT_CELLS)
    fitted = fit_joint_splines(weighted, images, options.splines, fixed=fixed, tick=tick)
    controls = fitted.controls if fixed is not None else _framed(fitted.controls, again, fitted.trust)
    return replace(found, controls=controls, trust=agreement(found.matches, controls))


def fit_matches(
    matches: PairedPoints,
    images: int,
    options: JointOptions | None = None,
    *,
    fixed: Tensor | None = None,
    tick: Tick = no_tick,
) -> SplineAlignment:
    """Fit maps to matches, none of the images mirrored: twice, the second time weighted by the support of the first.

    Unless images are `fixed`, the plane is then shrunk, if need be, so that what matches fits into [-1, 1]^2.
    """
    start = fit_joint_splines(matches, images, options, fixed=fixed, tick=tick)
    weighted = weighted_by_support(matches, start.trust, images, _SUPPORT_CELLS)
    fitted = fit_joint_splines(weighted, images, options, fixed=fixed, tick=tick)
    controls = fitted.controls if fixed is not None else _framed(fitted.controls, matches, fitted.trust)
    none = torch.zeros(images, dtype=torch.bool, device=controls.device)
    return SplineAlignment(controls, none, matches, agreement(matches, controls))


def _upright_trust(found: SplineAlignment) -> Tensor:
    """Trust (P, K) where the maps keep orientation at both ends: splines can turn an image around by themselves."""
    upright = (jacobian_determinant(dense_flow(found.controls, _ORIENTED_CELLS + 1)) > 0).flatten()
    ends = ((found.matches.first, found.matches.first_points), (found.matches.second, found.matches.second_points))
    first, second = (upright[cell_index(of, points, _ORIENTED_CELLS)] for of, points in ends)
    return found.trust * first * second


def agreement(matches: PairedPoints, controls: Tensor) -> Tensor:
    """By how much each match (P, K) agrees with maps (N, 2, n, n), in [0, 1]: a quarter at a distance of 0.1."""
    first = evaluate_pairs(controls, matches.first, matches.first_points)
    second = evaluate_pairs(controls, matches.second, matches.second_points)
    return closeness(first, second) * (matches.weights > 0)


def closeness(first: Tensor, second: Tensor) -> Tensor:
    """The weights (P, K) of Geman and McClure of places (P, K, 2) in the plane, with a reach of 0.1."""
    return (_REACH**2 / ((first - second).square().sum(dim=2) + _REACH**2)).square()


def evaluate_pairs(controls: Tensor, images: Tensor, points: Tensor) -> Tensor:
    """Places (P, K, 2) of points (P, K, 2) of images (P,), by their splines (N, 2, n, n)."""
    rows = [evaluate_flow(controls[i : i + 1], own.to(controls))[0] for i, own in zip(images, points, strict=True)]
    return torch.stack(rows) if rows else points.to(controls)


def _framed(controls: Tensor, matches: PairedPoints, trust: Tensor) -> Tensor:
    places = torch.cat(
        [
            evaluate_pairs(controls, of, points)[trust > _TRUSTED]
            for of, points in ((matches.first, matches.first_points), (matches.second, matches.second_points))
        ]
    )
    if not len(places):
        return controls
    low, high = (torch.quantile(places, share, dim=0) for share in (_TAIL, 1 - _TAIL))
    scale = (2 * _RIM / (high - low).amax()).clamp(max=1)
    shift = torch.where((high.abs().amax() > _RIM) | (low.abs().amax() > _RIM), -scale * (low + high) / 2, 0.0)
    return scale * controls + shift.view(1, 2, 1, 1)
