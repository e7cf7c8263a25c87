"""Which variant of every source suits its target: adaptive pose alignment (arXiv 2311.17034)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from api_schemas.methods.geo_aware import ImdParams
from workers.methods.features import Heartbeat
from workers.methods.geo_aware.imd import imd_matrix, mutual_distance, resampled
from workers.methods.geo_aware.inputs import Looks
from workers.methods.geo_aware.variants import choose, chosen

Pair = tuple[int, int]

_MOSTLY = 0.5


@dataclass(frozen=True)
class PairChoice:
    """Variants of the source of a pair, by number.

    Attributes:
        best: the most like the target.
        native: the most like it among those not mirrored, in which left is left.
        margin: by how much the best is nearer than the next; NaN where there is no other.
    """

    best: int
    native: int
    margin: float

    @property
    def is_mirrored(self) -> bool:
        """Whether the mirrored picture is more like the target."""
        return self.best != self.native


def measure(looks: Looks, params: ImdParams, pairs: Sequence[Pair], pulse: Heartbeat) -> Tensor:
    """Instance matching distances (N, N, V) of all variants; NaN for pairs not asked for."""
    resolution = min(params.resolution, looks.features[0].shape[-1])
    features = [resampled(maps, resolution) for maps in looks.features]
    pulse.beat()
    if params.mode == "mutual":
        return _mutual(features, pairs, pulse)
    masks = [resampled(inside.unsqueeze(1).float(), resolution)[:, 0] > _MOSTLY for inside in looks.inside]
    distances = torch.full((len(features[0]), len(features[0]), len(features)), torch.nan)
    for done, (source, target) in enumerate(pairs):
        row = imd_matrix(features, features[0], masks, masks[0], pairs=[(source, target)], tick=pulse.beat)
        distances[source, target] = row[source, target]
        pulse.step(done + 1, len(pairs))
    return distances


def choices(distances: Tensor, looks: Looks, pairs: Sequence[Pair], min_relative_gain: float) -> dict[Pair, PairChoice]:
    """Choose for every pair by distances (N, N, V)."""
    native = [number for number, variant in enumerate(looks.variants) if not variant.flip]
    found = {}
    for pair in pairs:
        row = distances[pair]
        best = chosen(row, min_relative_gain)
        unmirrored = native[choose(row[native], min_relative_gain)]
        # The rule of the least gain looks at the picture as it is only, so the best of all is the best of its kind.
        is_native = not looks.variants[best.index].flip
        found[pair] = PairChoice(best.index, best.index if is_native else unmirrored, best.margin)
    return found


def as_they_are(pairs: Sequence[Pair]) -> dict[Pair, PairChoice]:
    """No choice: every picture as it is."""
    return {pair: PairChoice(0, 0, float("nan")) for pair in pairs}


def _mutual(features: Sequence[Tensor], pairs: Sequence[Pair], pulse: Heartbeat) -> Tensor:
    count = len(features[0])
    distances = torch.full((count, count, len(features)), torch.nan)
    for done, (source, target) in enumerate(pairs):
        for number, maps in enumerate(features):
            distances[source, target, number] = mutual_distance(maps[source], features[0][target], tick=pulse.beat)
        pulse.step(done + 1, len(pairs))
    return distances
