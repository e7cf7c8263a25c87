"""What a job costs under each preset, beside the official code as its authors run it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from api_schemas.methods.sd_correspondence import Preset, QueryPoint, SdCorrespondenceParams
from benchmarks.sd_correspondence.bed import PRESETS, in_target, scattered
from benchmarks.sd_correspondence.counts import Counts, counted, official_counted
from benchmarks.sd_correspondence.pieces import Pieces
from workers.methods.sd_correspondence.options import options_of
from workers.methods.sd_correspondence.squares import Points

QUERIES = (16, 1)
# The checkpoint that the configuration belongs to; the estimate asks for its size.
_MODEL = "sd15"


@dataclass(frozen=True)
class WorkRow:
    """A job of one source and one target, in TFLOP.

    Attributes:
        preset: whose settings.
        queries: points.
        cycle: whether it also looks for what it found in the source again.
        steps: mean of an embedding on pictures that tell the truth, where embeddings may end early.
        counts: how often each piece runs in so many steps.
        tflop: of so many steps.
        full_tflop: of all steps that the preset allows.
        estimate: what the service estimates before a job is queued.
        official: what the official code takes as its authors run it; it has no way back.
    """

    preset: Preset
    queries: int
    cycle: bool
    steps: float
    counts: Counts
    tflop: float
    full_tflop: float
    estimate: float
    official: float

    @property
    def ratio(self) -> float:
        """How many times less it is than the official code."""
        return self.official / self.tflop


def work_rows(pieces: Pieces, steps: Mapping[Preset, float]) -> list[WorkRow]:
    """Count all presets, with and without the way back; `steps` are means of an embedding."""
    return [
        _row(pieces, preset, scattered(queries), steps[preset], cycle=cycle)
        for queries in QUERIES
        for preset in PRESETS
        for cycle in (False, True)
    ]


def authors_tflop(pieces: Pieces, queries: int) -> tuple[float, float]:
    """The official code as its authors run it: to learn the queries, and to read them in one target.

    Every step and every reading encodes its crop and runs the whole U-Net, for one embedding.
    """
    steps, readings = official_counted(options_of(SdCorrespondenceParams(preset="official")), queries)
    forward = pieces.encode + pieces.official_forward
    return steps * (forward + pieces.official_back) / 1e3, readings * forward / 1e3


def _row(pieces: Pieces, preset: Preset, points: Points, steps: float, *, cycle: bool) -> WorkRow:
    queries = [QueryPoint(image=0, x=x, y=y) for x, y in points.tolist()]
    params = SdCorrespondenceParams(preset=preset, model=_MODEL, queries=queries, targets=[1], cycle=cycle)
    options = options_of(params)
    few, full = (
        counted(options, points, in_target(points), steps=number, cycle=cycle) for number in (steps, options.steps)
    )
    return WorkRow(
        preset,
        len(points),
        cycle,
        steps=steps,
        counts=few,
        tflop=few.tflop(pieces),
        full_tflop=full.tflop(pieces),
        estimate=params.work_tflop(2),
        official=sum(authors_tflop(pieces, len(points))),
    )
