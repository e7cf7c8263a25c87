"""A first alignment from relations between pairs of images, before any gradient step.

Entry: `initialise`, from feature matches. `combine` joins any pairs' relations to one frame.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from workers.geometry.similarity import from_complex
from workers.geometry.synchronisation import PairRelations, synchronise_signs, synchronise_similarities
from workers.methods.base import UnfitImagesError
from workers.methods.neural_congealing.pair_matches import INLIER_DISTANCE, PairEvidence, Tick, match_pairs
from workers.methods.neural_congealing.views import Frame

_AGREEING_TURN = 0.5
_MIN_RELATIVE_TRUST = 0.08
_MIN_SET_IMAGES = 8
_MIN_SET_SHARE = 0.42
_MIN_SET_SHARE_FLIPS = 0.5
_MIN_ANCHORED_SHARE = 0.35
_MIN_ANCHORED_SUPPORT = 0.2


class NothingInCommonError(UnfitImagesError):
    """The images of a set do not match each other better than chance."""

    def __init__(self) -> None:
        super().__init__(
            "the images seem to share nothing: no two of them match each other better than chance. Check that all "
            "show the same kind of thing at about the same view, give masks of the objects, or choose a stronger "
            "backbone"
        )


@dataclass(frozen=True)
class Initialisation:
    """A similarity and an orientation for each image.

    Attributes:
        matrices: (N, 2, 3) atlas -> picture (mirrored where flagged), normalised.
        mirrored: (N,) bool.
        trust: (N,) >= 0, evidence that ties the image to the others; 0 for an image without any.
        belongs: (N,) bool, False for images that match no other image better than chance; anchors always belong.
    """

    matrices: Tensor
    mirrored: Tensor
    trust: Tensor
    belongs: Tensor


def initialise(
    upright: Frame,
    turned: Frame | None,
    *,
    generator: torch.Generator,
    tick: Tick = lambda *_: None,
    anchors: Tensor | None = None,
) -> Initialisation:
    """Mutual matches, robust similarities, then synchronisation of flips, rotations, scales and shifts.

    Args:
        upright: the pictures as they are.
        turned: the pictures mirrored left to right; None leaves flips out.
        generator: draws the samples.
        tick: called with (done, total) after each pair.
        anchors: (N,) bool, images that stand in the atlas' frame already: their matrices are the identity, they are
            not mirrored, and the other images are aligned to them. None lets all images find a common frame.

    Raises:
        NothingInCommonError: fewer than two images match each other better than chance.
    """
    evidence = match_pairs(upright, turned, generator=generator, tick=tick, anchors=anchors)
    start = combine(evidence, anchors=anchors)
    return require_common(replace(start, belongs=belonging(evidence, start, anchors)))


def combine(evidence: PairEvidence, *, anchors: Tensor | None = None, mirrored: Tensor | None = None) -> Initialisation:
    """One frame for all images out of the pairs' fits; images with any consistent evidence belong.

    Args:
        evidence: of the pairs.
        anchors: (N,) bool, see `initialise`.
        mirrored: (N,) bool, which images are to be mirrored; None finds out.
    """
    signs = _signs(evidence, anchors) if mirrored is None else torch.where(mirrored, -1.0, 1.0).double()
    pairs = _oriented_pairs(evidence, signs)
    factor, shift = synchronise_similarities(_with_known(pairs, anchors), fixed=anchors)
    trust = (pairs.weights * _agreeing(pairs, factor, shift)).sum(dim=1)
    if anchors is not None:
        trust = torch.where(anchors, trust.max(), trust)
    return Initialisation(from_complex(factor, shift).float(), signs < 0, trust.float(), trust > 0)


def require_common(start: Initialisation) -> Initialisation:
    """Give back an alignment in which at least two images belong.

    Raises:
        NothingInCommonError: there are none.
    """
    if int(start.belongs.sum()) < 2:
        raise NothingInCommonError
    return start


def belonging(evidence: PairEvidence, start: Initialisation, anchors: Tensor | None) -> Tensor:
    """Which images (N,) match others better than chance.

    Chance also finds similarities between unrelated images, and as many matches support them as in difficult real
    sets; but it does not make them agree around loops. So a set of eight or more has something in common only if
    enough of all support is for relations that agree with the common frame (more, where flips let signs be chosen to
    that end), and an image belongs if its part in that is not negligible. In doubt an image belongs. To a finished
    atlas an image belongs whose relations to the anchors agree and are supported almost as anchors support each other.
    """
    if anchors is not None:
        return anchors | _joins(evidence, start, anchors)
    trusted = start.trust > _MIN_RELATIVE_TRUST * start.trust.median()
    needed = _MIN_SET_SHARE if evidence.mirrored is None else _MIN_SET_SHARE_FLIPS
    if len(trusted) < _MIN_SET_IMAGES or set_share(evidence, start) >= needed:
        return trusted
    return torch.zeros_like(trusted)


def _joins(evidence: PairEvidence, start: Initialisation, anchors: Tensor) -> Tensor:
    """Which images (N,) match the anchors better than chance; all with any evidence where there is one anchor."""
    if evidence.anchor_support == 0:
        return start.trust > 0
    typical = evidence.anchor_support * int(anchors.sum())
    agreeing = consistent_share(evidence, start) >= _MIN_ANCHORED_SHARE
    return agreeing & (start.trust >= _MIN_ANCHORED_SUPPORT * typical)


def set_share(evidence: PairEvidence, start: Initialisation) -> float:
    """Share in [0, 1] of all pairs' support that agrees with one frame, mirrored as found or not at all."""
    plain = combine(evidence, mirrored=torch.zeros_like(start.mirrored))
    found = combine(evidence, mirrored=start.mirrored)
    return max(
        float(each.trust.sum() / support(evidence, each.mirrored).sum().clamp(min=1e-9)) for each in (plain, found)
    )


def consistent_share(evidence: PairEvidence, start: Initialisation) -> Tensor:
    """Share (N,) in [0, 1] of each image's support that agrees with the common frame."""
    return start.trust / support(evidence, start.mirrored).clamp(min=1e-9)


def support(evidence: PairEvidence, mirrored: Tensor) -> Tensor:
    """Support (N,) of each image by all its pairs, given which images (N,) are mirrored."""
    signs = torch.where(mirrored, -1.0, 1.0).double()
    return _oriented_pairs(evidence, signs).weights.sum(dim=1).float()


def _signs(evidence: PairEvidence, anchors: Tensor | None) -> Tensor:
    support = _symmetric(evidence.as_is.weights)
    if evidence.mirrored is None:
        return torch.ones(len(support), dtype=torch.float64)
    if anchors is not None:
        support = torch.where(_both(anchors), support.max(), support)
    return synchronise_signs(support, _symmetric(evidence.mirrored.weights), fixed=anchors)


def _with_known(pairs: PairRelations, anchors: Tensor | None) -> PairRelations:
    """The relations and, among anchors, the identity with the weight of the strongest."""
    if anchors is None:
        return pairs
    known = _both(anchors)
    zero, one = torch.zeros_like(pairs.source), torch.ones_like(pairs.factor)
    return PairRelations(
        torch.where(known, one, pairs.factor),
        torch.where(known, zero, pairs.source),
        torch.where(known, zero, pairs.target),
        torch.where(known, pairs.weights.max(), pairs.weights),
    )


def _both(flags: Tensor) -> Tensor:
    """Pairs (N, N) of two different flagged images."""
    return flags.unsqueeze(1) & flags.unsqueeze(0) & ~torch.eye(len(flags), dtype=torch.bool)


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


def _agreeing(pairs: PairRelations, factor: Tensor, shift: Tensor) -> Tensor:
    """Pairs (N, N) whose relation agrees with the common frame."""
    first = (pairs.source - shift.unsqueeze(1)) / factor.unsqueeze(1)
    second = (pairs.target - shift.unsqueeze(0)) / factor.unsqueeze(0)
    expected = factor.unsqueeze(0) / factor.unsqueeze(1)
    turn = (pairs.factor / expected).log().abs()
    return ((first - second).abs() < 3 * INLIER_DISTANCE) & (turn < _AGREEING_TURN)
