"""What keypoints demand of feature maps, after Telling Left from Right (arXiv 2311.17034).

Two conventions say where a keypoint lies. Officially its descriptor is that of the cell it falls in, and the place to
be found is the target's less what the cell cut off at the source. With `subcell` the descriptor is read bilinearly at
the very place, and the place to be found is exact; both in units of cells.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy, normalize

from workers.backbones.base import Tick, no_tick
from workers.geometry.coordinates import pixels_to_normalised, sample_at
from workers.matching.soft_argmax import Softness, soft_places

TEMPERATURE = 0.02
_SMALLEST_NORM = 1e-10


def descriptors_at(maps: Tensor, points: Tensor, *, subcell: bool) -> Tensor:
    """Descriptors at keypoints.

    Args:
        maps: (V, C, g, g), a unit vector each cell.
        points: (V, K, 2) in cells, continuous; beyond the border the border is read.
        subcell: see above.

    Returns:
        (V, K, C), unit vectors.
    """
    cells = maps.shape[3]
    if subcell:
        read = sample_at(maps, pixels_to_normalised(points, width=cells, height=cells))
        return normalize(read.transpose(1, 2), dim=2, eps=_SMALLEST_NORM)
    column, row = points.floor().long().clamp(0, cells - 1).unbind(dim=2)
    index = (row * cells + column).unsqueeze(1).expand(-1, maps.shape[1], -1)
    return maps.flatten(2).gather(2, index).transpose(1, 2)


def wanted_places(source_points: Tensor, target_points: Tensor, *, subcell: bool) -> Tensor:
    """Where keypoints should be found.

    Args:
        source_points: (..., 2) in cells, continuous.
        target_points: likewise.
        subcell: see above.

    Returns:
        (..., 2) cell positions (column, row), whole numbers at the centres of cells.
    """
    return target_points - (0.5 if subcell else source_points - source_points.floor())


def found_places(
    queries: Tensor,
    asked: Tensor,
    targets: Tensor,
    maps: Tensor,
    *,
    temperature: float = TEMPERATURE,
    tick: Tick = no_tick,
) -> Tensor:
    """Where keypoints are found by the soft-argmax over the whole map; no other rows of the similarity are computed.

    Args:
        queries: (R, K, C), of R pairs of pictures.
        asked: (R, K) bool, which of them are looked for.
        targets: (R,) int64, the map in which they are looked for.
        maps: (V, C, g, g).
        temperature: of the softmax.
        tick: called during the work.

    Returns:
        (R, K, 2) cell positions (column, row); 0 where not asked.
    """
    softness = Softness(temperature=temperature)
    rows, found = [], [queries.new_zeros(0, 2)]
    for view, looked_in in enumerate(maps.unbind()):
        wanted = (asked & (targets == view).unsqueeze(1)).nonzero()
        if len(wanted):
            rows.append(wanted)
            found.append(soft_places(queries[wanted[:, 0], wanted[:, 1]], looked_in, softness, tick=tick))
    places = queries.new_zeros(*asked.shape, 2)
    if not rows:
        return places
    at = torch.cat(rows)
    return places.index_put((at[:, 0], at[:, 1]), torch.cat(found))


def dense_loss(found: Tensor, wanted: Tensor, visible: Tensor) -> Tensor:
    """Mean distance in cells between places found and wanted (R, K, 2) over the visible keypoints of each pair.

    Args:
        found: from `found_places`.
        wanted: from `wanted_places`, noise added where it shall be.
        visible: (R, K) bool.

    Returns:
        (R,); 0 for pairs without visible keypoints.
    """
    apart = (found - wanted)[visible]
    errors = found.new_zeros(visible.shape).masked_scatter(visible, apart.norm(dim=1))
    return errors.sum(dim=1) / visible.sum(dim=1).clamp(min=1)


def sparse_loss(source: Tensor, target: Tensor, visible: Tensor, logit_scale: Tensor) -> Tensor:
    """Symmetric cross-entropy of the keypoints of a pair against each other, as CLIP has it for pictures and words.

    Args:
        source: (R, K, C) descriptors, unit vectors.
        target: likewise.
        visible: (R, K) bool, in both pictures.
        logit_scale: logarithm of what cosines are multiplied by.

    Returns:
        (R,), mean over the visible keypoints; 0 for pairs without any.
    """
    pairs, keypoints = visible.shape
    labels = torch.arange(keypoints, device=visible.device).expand(pairs, -1)
    # An invisible keypoint's own row keeps its diagonal, so that no softmax is over nothing.
    hidden = ~visible.unsqueeze(1) & ~torch.eye(keypoints, dtype=torch.bool, device=visible.device)
    total = source.new_zeros(pairs)
    for rows, columns in ((source, target), (target, source)):
        logits = (logit_scale.exp() * rows @ columns.transpose(1, 2)).masked_fill(hidden, -torch.inf)
        each = cross_entropy(logits.transpose(1, 2), labels, reduction="none")
        total = total + (each * visible).sum(dim=1)
    return total / (2 * visible.sum(dim=1).clamp(min=1))
