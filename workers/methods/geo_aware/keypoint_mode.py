"""Chosen points of an image in another one, and the choice between a picture and its mirror image point by point.

Telling Left from Right, arXiv 2311.17034: in the mirrored picture a left paw plays a right one, so that the left paw
is sought from where the mirrored picture shows the right one.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import normalize

from workers.backbones.base import Tick, no_tick
from workers.geometry.coordinates import pixels_to_normalised, sample_at
from workers.matching.soft_argmax import Softness
from workers.matching.trust import confidence
from workers.methods.geo_aware.evidence import Evidence, read_places


@dataclass(frozen=True)
class Transferred(Evidence):
    """Where K points lie in another map, and what speaks for it.

    Attributes:
        cells: (K, 2) expected positions (column, row), whole at cell centres.
        confidence: (K,) in [0, 1], see `workers.matching.trust.confidence`.
    """

    cells: Tensor
    confidence: Tensor


@torch.no_grad()
def query(
    source_map: Tensor,
    target_map: Tensor,
    points: Tensor,
    softness: Softness,
    *,
    subcell: bool = True,
    source_mask: Tensor | None = None,
    target_mask: Tensor | None = None,
    tick: Tick = no_tick,
) -> Transferred:
    """Find points of one map in another.

    Args:
        source_map: (C, h, w) unit vectors.
        target_map: (C, k, l) unit vectors.
        points: (K, 2) positions (column, row) in the source, whole at cell centres; those off the map are taken to be
            at its border.
        softness: how similarities are read.
        subcell: read the source's features between cells, bilinearly; else take those of the cell the point is in, as
            the official code does.
        source_mask: (h, w) bool, the cells where the way back may end, at least one; all if None.
        target_mask: (k, l) bool, the cells where anything may be found, at least one; all if None.
        tick: called after every chunk.

    Returns:
        Positions and evidence; `cycle` is from the point to the cell most similar to the one it was found in.
    """
    descriptors = normalize(_between(source_map, points), dim=1) if subcell else _cell_features(source_map, points)
    found = read_places(descriptors, target_map, softness, target_mask=target_mask, tick=tick)
    partners = target_map.flatten(1)[:, found.index].T
    ends = read_places(partners, source_map, softness, target_mask=source_mask, tick=tick).index
    start = points if subcell else _containing(points, source_map)
    width = source_map.shape[2]
    cycle = torch.linalg.vector_norm(torch.stack([ends % width, ends // width], dim=1) - start, dim=1)
    trust = confidence(found.peak, found.peak - found.margin, cycle)
    return Transferred(found.peak, found.margin, found.entropy, cycle, found.cells, trust)


def merged(
    native: Tensor, flipped: Tensor, source_visible: Tensor, target_visible: Tensor | None, becomes: Tensor
) -> tuple[Tensor, Tensor]:
    """Choose between the predictions of a picture and of its mirror image, where the mirror image suits better.

    Keypoint i takes the mirror image's if i and its partner are visible in the source, and in the target too, where
    that is known: the official rule, for evaluation. For new pictures what the target shows is not known, and the
    source alone decides.

    Args:
        native: (K, 2) predictions of the picture as it is.
        flipped: (K, 2) predictions of keypoint i, sought from where the mirrored picture shows the partner of i.
        source_visible: (K,) bool.
        target_visible: (K,) bool; None where unknown.
        becomes: (K,) the partner of each keypoint, the one it becomes in a mirror; itself if it has no side.

    Returns:
        (K, 2) predictions, and (K,) bool which are the mirror image's.
    """
    seen = source_visible if target_visible is None else source_visible & target_visible
    used = seen & seen[becomes]
    return flipped.where(used.unsqueeze(1), native), used


def _between(maps: Tensor, points: Tensor) -> Tensor:
    """(K, C) features at points (K, 2)."""
    height, width = maps.shape[1:]
    places = pixels_to_normalised(points.to(maps) + 0.5, width=width, height=height)
    return sample_at(maps.unsqueeze(0), places.unsqueeze(0))[0].T


def _containing(points: Tensor, maps: Tensor) -> Tensor:
    """Whole positions (K, 2) of the cells that points (K, 2) are in; the nearest on the map for those off it."""
    height, width = maps.shape[1:]
    last = points.new_tensor([width - 1, height - 1])
    return (points + 0.5).floor().clamp(min=torch.zeros_like(last), max=last)


def _cell_features(maps: Tensor, points: Tensor) -> Tensor:
    column, row = _containing(points, maps).long().unbind(dim=1)
    return maps[:, row, column].T
