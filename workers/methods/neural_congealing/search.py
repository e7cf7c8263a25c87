"""A first alignment by exhaustive search over rotations, scales and shifts, for features that change with the pose.

Every picture is described in a bank of rotated and zoomed views. For each pair the best relative similarity is the
highest peak among the correlations of their views, and all pairs together give the common frame. A rim where the
features see beyond the picture does not count, and what lies in the middle of a picture counts more. Feature matches
of the pictures as they are give a second alignment, more exact where the pictures are hardly turned; the one is taken
in which the pictures, described anew, agree better.
"""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from workers.geometry.coordinates import identity_grid
from workers.geometry.similarity import from_complex, to_complex
from workers.methods.neural_congealing.bank import describe_bank, pair_peaks, view_count
from workers.methods.neural_congealing.coarse_views import CoarseViews
from workers.methods.neural_congealing.flips import agreement, look_all, with_settled_flips
from workers.methods.neural_congealing.initialisation import Initialisation, belonging, combine, require_common
from workers.methods.neural_congealing.pair_matches import Tick, match_pairs, unknown_pairs
from workers.methods.neural_congealing.views import ImageViews
from workers.saliency.consensus import consensus_saliency

_SEARCH_GAIN = 1.1


def search_alignment(
    views: ImageViews,
    *,
    flips: bool,
    tick: Tick = lambda *_: None,
    anchors: Tensor | None = None,
    seed: int = 0,
) -> Initialisation:
    """Align without a first guess; see the module's text.

    Args:
        views: of the set, with a describer.
        flips: whether pictures may be mirrored.
        tick: called with (done, total) after each image and pair.
        anchors: (N,) bool, images that stand in the atlas' frame already: their matrices are the identity, they are
            not mirrored, and the other images are aligned to them. None lets all images find a common frame.
        seed: of the matches' samples.

    Raises:
        ValueError: no describer.
        NothingInCommonError: fewer than two images match each other better than chance.
    """
    coarse = CoarseViews(views)
    pairs = len(unknown_pairs(views.count, anchors))
    described = view_count(views.count, flips=flips, anchors=anchors)
    total = 2 * pairs + described
    plain = torch.zeros(views.count, dtype=torch.bool)
    matches = match_pairs(
        views.oriented(plain),
        views.oriented(~plain) if flips else None,
        generator=torch.Generator().manual_seed(seed),
        tick=lambda done, _: tick(done, total),
        anchors=anchors,
    )
    bank = describe_bank(coarse, flips=flips, tick=lambda done, _: tick(pairs + done, total), anchors=anchors)
    peaks = pair_peaks(bank, tick=lambda done, _: tick(pairs + described + done, total), anchors=anchors)
    del bank
    by_matches, by_peaks = combine(matches, anchors=anchors), combine(peaks, anchors=anchors)
    belongs = belonging(matches, by_matches, anchors)
    if anchors is None and bool(belongs.any()):
        belongs = belongs | belonging(peaks, by_peaks, anchors)
    require_common(replace(by_matches, belongs=belongs))
    start, evidence, seen = by_matches, matches, look_all(coarse, by_matches)
    searched = look_all(coarse, by_peaks)
    if float(agreement(searched).sum()) > _SEARCH_GAIN * float(agreement(seen).sum()):
        start, evidence, seen = by_peaks, peaks, searched
    if flips:
        start = with_settled_flips(coarse, evidence, start, seen, anchors)
    start = replace(start, belongs=belongs)
    return centred_on_common_part(start, coarse) if anchors is None else start


def centred_on_common_part(start: Initialisation, coarse: CoarseViews) -> Initialisation:
    """The same alignment with the centroid of what the images have in common in the atlas' middle."""
    features, area = coarse.congealed(start)
    weights = area.flatten(1) * start.trust.clamp(min=1e-3).unsqueeze(1)
    saliency = consensus_saliency(features.flatten(2), weights, coarse.cells).double()
    points = identity_grid(coarse.cells, coarse.cells).reshape(-1, 2).double()
    x, y = (points * saliency.unsqueeze(1)).sum(dim=0) / saliency.sum().clamp(min=1e-6)
    factor, shift = to_complex(start.matrices.double())
    return replace(start, matrices=from_complex(factor, shift + factor * torch.complex(x, y)).float())
