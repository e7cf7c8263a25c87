"""How well keypoints are found before and after the training."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import replace
from itertools import permutations

import numpy as np
import torch
from pydantic import JsonValue

from alignment.keypoint_report import KeypointReport, keypoint_report
from workers.matching.soft_argmax import Softness
from workers.methods.base import InputImage
from workers.methods.features import Heartbeat
from workers.methods.geo_aware.choices import as_they_are
from workers.methods.geo_aware.describing import Describer
from workers.methods.geo_aware.inputs import Looks
from workers.methods.geo_aware.keypoints import carry_keypoints
from workers.methods.geo_aware.scoring import ALPHAS, Points, scored_pairs
from workers.methods.geo_aware_adapter.described import DescribedImages
from workers.methods.geo_aware_adapter.inputs import Split, is_held_out
from workers.methods.geo_aware_adapter.network import Adapter
from workers.methods.geo_aware_adapter.training import Judge

MAX_PAIRS = 2000
"""Of a report; more are thinned out evenly."""


def judged(report: KeypointReport) -> float:
    """PCK@0.1 of the look-alike keypoints, or of all where there are none; -1 where nothing can be compared."""
    scores = report.geometry_aware if report.geometry_aware.points else report.standard
    share = scores.scores[0].per_point
    return -1.0 if share is None else share


def judge(
    described: DescribedImages, describer: Describer, chosen: Sequence[int], examiner: Examiner, pulse: Heartbeat
) -> Judge:
    """A judge that scores an adapter on the chosen images, otherwise described as `describer` does."""

    @torch.no_grad()
    def score(adapter: Adapter) -> float:
        return judged(examiner.report(described.adapted(replace(describer, adapter=adapter), pulse), chosen))

    return score


class Examiner:
    """Scores how features carry keypoints."""

    def __init__(
        self, images: Sequence[InputImage], softness: Softness, pulse: Heartbeat, *, held_out: Collection[str] = ()
    ) -> None:
        """Score `images`, of which keypoints named in `held_out` are scored by themselves."""
        self._images, self._softness, self._pulse, self._held_out = images, softness, pulse, held_out

    def report(self, looks: Looks, chosen: Sequence[int], *, held_out: bool = False) -> KeypointReport:
        """Score all ordered pairs of the chosen images, by the keypoints learned or by those held out."""
        pairs = self._pairs(chosen)
        picked = as_they_are(pairs)
        carried = carry_keypoints(looks, self._images, picked, self._softness, subcell=True, pulse=self._pulse)

        def at(source: int, target: int) -> Points:
            annotation, found = self._images[source].annotation, carried.get((source, target))
            count = len(annotation.keypoints) if annotation else 0
            return found.all_points(count) if found else np.full((count, 2), np.nan)

        scored = scored_pairs(
            self._images,
            pairs,
            at,
            only=lambda annotation: is_held_out(annotation, self._held_out) == held_out,
        )
        return keypoint_report(scored, ALPHAS)

    def compare(self, before: Looks, after: Looks, split: Split) -> dict[str, JsonValue]:
        """Report on test and training images, before and after."""
        found: dict[str, JsonValue] = {}
        for name, chosen in (("test", split.test), ("val", split.val), ("train", split.train)):
            if len(chosen) > 1:
                found[name] = self._both(before, after, chosen, held_out=False)
        if self._held_out:
            chosen = split.test if len(split.test) > 1 else split.train
            found["held_out_keypoints"] = self._both(before, after, chosen, held_out=True)
        return found

    def _both(self, before: Looks, after: Looks, chosen: Sequence[int], *, held_out: bool) -> JsonValue:
        return {
            "before": self.report(before, chosen, held_out=held_out).as_json(),
            "after": self.report(after, chosen, held_out=held_out).as_json(),
        }

    def _pairs(self, chosen: Sequence[int]) -> list[tuple[int, int]]:
        kinds = {index: annotation.category for index in chosen if (annotation := self._images[index].annotation)}
        pairs = [(i, j) for i, j in permutations(chosen, 2) if kinds.get(i) == kinds.get(j)]
        return pairs[:: -(-len(pairs) // MAX_PAIRS)] if pairs else []
