"""A drawn category whose parts come in look-alike pairs: plain features against a trained adapter."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass

import torch

from workers.evaluation.ambiguous_parts import ambiguous_parts, raw_maps, shares_correct
from workers.methods.geo_aware_adapter.network import Adapter, load_adapter_state
from workers.methods.geo_aware_adapter.options import AdapterOptions
from workers.methods.geo_aware_adapter.training import train


@dataclass(frozen=True)
class AmbiguousRow:
    """PCK of the geometry-aware keypoints of pictures that were not learned from, in [0, 1]: means over categories."""

    categories: int
    steps: int
    raw: float
    raw_05: float
    adapter: float
    adapter_05: float
    cpu_s: float
    """Of the longest training."""


def ambiguous_row(seeds: Sequence[int] = range(6)) -> AmbiguousRow:
    """Train with the default options on several categories."""
    options = AdapterOptions()
    raw, adapted, seconds = [], [], []
    for seed in seeds:
        parts = ambiguous_parts(seed)
        raw.append(shares_correct(raw_maps(parts.test), parts.test, parts.test_pairs))
        began = time.process_time()
        trained = train(parts.train, options, seed=seed)
        seconds.append(time.process_time() - began)
        adapter = Adapter(parts.test.channels, width=options.width, hidden=options.hidden, groups=options.groups)
        load_adapter_state(adapter, trained.weights)
        with torch.no_grad():
            maps = adapter.eval().describe([block.float() for block in parts.test.blocks], parts.test.cells)
        adapted.append(shares_correct(maps, parts.test, parts.test_pairs))
    (raw_10, raw_05), (adapter_10, adapter_05) = (
        [sum(column) / len(seeds) for column in zip(*scores, strict=True)] for scores in (raw, adapted)
    )
    return AmbiguousRow(len(seeds), options.steps, raw_10, raw_05, adapter_10, adapter_05, max(seconds))
