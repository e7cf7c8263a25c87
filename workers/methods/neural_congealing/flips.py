"""Choosing between first alignments, and mirroring no picture without need, by how well the aligned pictures agree.

Relations between pairs say how well two pictures can be made to match; many things match their own mirror image about
as well, a car's front its back. Seen in one frame, the pictures tell more: an orientation has to suit all others at
once. As photographs of one kind of thing mostly face the same way, or look the same mirrored, a picture is mirrored
only where that makes it agree clearly better.
"""

from __future__ import annotations

from typing import Protocol

import torch
from torch import Tensor
from torch.nn.functional import adaptive_avg_pool2d, normalize

from workers.geometry.coordinates import identity_grid, sample
from workers.geometry.similarity import transform
from workers.methods.neural_congealing.initialisation import Initialisation, combine, support
from workers.methods.neural_congealing.pair_matches import MATCH_CELLS, PairEvidence
from workers.methods.neural_congealing.views import Frame

MIRROR_GAIN = 1.3
_ROUNDS = 2
_DECISIVE = 1.5


class Looks(Protocol):
    """Shows a picture through a similarity."""

    def weighted(self, image: int, matrix: Tensor, *, mirrored: bool) -> Tensor:
        """Features times the trust in each cell, flat (E,), of an image seen through atlas -> picture (2, 3)."""


class WarpedLooks:
    """Looks at given feature maps, for features that stay the same when a picture is turned."""

    def __init__(self, upright: Frame, turned: Frame) -> None:
        """Look at pictures as they are and mirrored."""
        self._orientations = [_pooled(frame) for frame in (upright, turned)]

    def weighted(self, image: int, matrix: Tensor, *, mirrored: bool) -> Tensor:
        """See `Looks`."""
        features, area = self._orientations[mirrored]
        grid = transform(matrix.unsqueeze(0), identity_grid(MATCH_CELLS, MATCH_CELLS).unsqueeze(0))
        seen = sample(area[image : image + 1], grid, padding="zeros")
        return (normalize(sample(features[image : image + 1], grid), dim=1) * seen).flatten()


def _pooled(frame: Frame) -> tuple[Tensor, Tensor]:
    area = adaptive_avg_pool2d(frame.masks * frame.valid, MATCH_CELLS)
    return adaptive_avg_pool2d(frame.features * frame.masks * frame.valid, MATCH_CELLS), area


def look_all(looks: Looks, start: Initialisation) -> Tensor:
    """All images (N, E) in the atlas' frame."""
    flags = start.mirrored.tolist()
    return torch.stack([looks.weighted(i, start.matrices[i], mirrored=flag) for i, flag in enumerate(flags)])


def agreement(seen: Tensor, anchors: Tensor | None = None) -> Tensor:
    """How well each image (N,) agrees with the sum of the others, or of the anchors (N,) bool among them.

    Args:
        seen: (N, E) weighted features in one frame.
        anchors: images that are the atlas; what the rest say of each other does not count then.
    """
    counting = torch.ones_like(seen[:, 0]) if anchors is None else anchors.to(seen)
    return seen @ (counting @ seen) - counting * seen.square().sum(dim=1)


def with_settled_flips(
    looks: Looks, evidence: PairEvidence, start: Initialisation, seen: Tensor, anchors: Tensor | None
) -> Initialisation:
    """The alignment with every picture mirrored that gains by it, and no other.

    Each image in turn is tried the other way round, placed by the pairs' relations. It stays mirrored, or becomes so,
    only if its agreement with the others is `MIRROR_GAIN` times that of the picture as it is. In the end the mirrored
    pictures together must agree as much better than in the alignment that mirrors none.

    Args:
        looks: at the pictures.
        evidence: relations of the pairs, mirrored ones too.
        start: an alignment combined from that evidence.
        seen: of `look_all` in that alignment.
        anchors: (N,) bool, images never to be mirrored, or None.
    """
    for _ in range(_ROUNDS):
        before = start.mirrored
        for image in range(len(before)):
            if (anchors is None or not bool(anchors[image])) and _open(evidence, start, image):
                start, seen = _tried_the_other_way(looks, evidence, start, seen, image, anchors)
        if torch.equal(before, start.mirrored):
            break
    return _unless_none_is_as_good(looks, evidence, start, seen, anchors)


def _open(evidence: PairEvidence, start: Initialisation, image: int) -> bool:
    """Whether the pairs leave room for doubt which way round an image is."""
    flags = start.mirrored.clone()
    flags[image] = ~flags[image]
    other = float(support(evidence, flags)[image])
    return other > 0 and float(support(evidence, start.mirrored)[image]) < _DECISIVE * other


def _tried_the_other_way(
    looks: Looks, evidence: PairEvidence, start: Initialisation, seen: Tensor, image: int, anchors: Tensor | None
) -> tuple[Initialisation, Tensor]:
    flags = start.mirrored.clone()
    flags[image] = ~flags[image]
    other = combine(evidence, anchors=anchors, mirrored=flags)
    view = looks.weighted(image, other.matrices[image], mirrored=bool(flags[image]))
    counting = torch.ones_like(seen[:, 0]) if anchors is None else anchors.to(seen)
    rest = counting @ seen - counting[image] * seen[image]
    now, then = float(seen[image] @ rest), float(view @ rest)
    gain = then - MIRROR_GAIN * max(now, 0.0) if bool(flags[image]) else MIRROR_GAIN * then - now
    if gain <= 0:
        return start, seen
    seen = seen.clone()
    seen[image] = view
    return other, seen


def _unless_none_is_as_good(
    looks: Looks, evidence: PairEvidence, start: Initialisation, seen: Tensor, anchors: Tensor | None
) -> Initialisation:
    if not bool(start.mirrored.any()):
        return start
    plain = combine(evidence, anchors=anchors, mirrored=torch.zeros_like(start.mirrored))
    gained, before = agreement(seen, anchors), agreement(look_all(looks, plain), anchors)
    enough = gained[start.mirrored].sum() > MIRROR_GAIN * before[start.mirrored].sum().clamp(min=0)
    return start if bool(enough) else plain
