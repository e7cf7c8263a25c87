"""How near each preset comes to the truth on pictures that tell it, without a network."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field, fields, replace

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from api_schemas.methods.sd_correspondence import FRAME, SPEC, Preset, QueryPoint, SdCorrespondenceParams
from benchmarks.sd_correspondence.counts import ITEMS_AT_ONCE
from workers.evaluation.attention_bed import CanonicalReader, canonical_picture
from workers.methods.base import InputImage
from workers.methods.sd_correspondence.kept import Kept
from workers.methods.sd_correspondence.passes import Passes
from workers.methods.sd_correspondence.pictures import Pictures
from workers.methods.sd_correspondence.reader import Reader
from workers.methods.sd_correspondence.readout import Found
from workers.methods.sd_correspondence.scene import Scene
from workers.methods.sd_correspondence.search import Search, shares_of
from workers.methods.sd_correspondence.squares import Points
from workers.methods.sd_correspondence.ways import go_there
from workers.methods.sd_correspondence.work import Work, lay_out
from workers.run_context import Run

PRESETS: tuple[Preset, ...] = ("official", "fast", "joint", "cached")
FREQUENCY = 6.0
ANGLE_DEG, SCALE = 12.0, 0.9
OFFSET = np.array([0.12, -0.05])


@dataclass(frozen=True)
class BedRow:
    """A preset on points of several runs; errors in pixels of a picture of 512.

    Attributes:
        errors: of what the preset takes for found.
        peak_errors: of the highest pixel.
        soft_errors: of the peak's centroid.
        peaks: attention at the highest pixel, in [0, 1].
        steps: mean of an embedding.
        learn_cpu_s: of a query.
        find_cpu_s: of a query, in both pictures.
    """

    preset: Preset
    errors: list[float]
    peak_errors: list[float]
    soft_errors: list[float]
    peaks: list[float]
    steps: float
    learn_cpu_s: float
    find_cpu_s: float


def matrix() -> npt.NDArray[np.float64]:
    """How the target's places go to the source's: a rotation and a scale."""
    angle = np.deg2rad(ANGLE_DEG)
    turned: npt.NDArray[np.float64] = SCALE * np.array(
        [[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]
    )
    return turned


_Array = npt.NDArray[np.float64]
_PLACES: tuple[tuple[_Array, _Array], ...] = ((np.eye(2), np.zeros(2)), (matrix(), OFFSET))


def in_target(points: Points) -> Points:
    """Where points (P, 2) of the source lie in the target, both in pixels of 512."""
    places: Points = (points / FRAME - OFFSET) @ np.linalg.inv(matrix()).T * FRAME
    return places


def scattered(count: int) -> Points:
    """Random points (count, 2) of the source that lie in the target too, always the same."""
    points = np.random.default_rng(0).uniform(0, FRAME, (20 * count + 20, 2))
    inside = ((in_target(points) >= 0) & (in_target(points) <= FRAME)).all(axis=1)
    return points[inside][:count]


def bed_row(preset: Preset, points: Points, seeds: Sequence[int]) -> BedRow:
    """Find points under a preset's own settings; a seed is the reader's and the run's."""
    runs = [_run(preset, points, seed) for seed in seeds]
    return BedRow(
        preset,
        errors=[error for run in runs for error in run.errors],
        peak_errors=[error for run in runs for error in run.peak_errors],
        soft_errors=[error for run in runs for error in run.soft_errors],
        peaks=[peak for run in runs for peak in run.peaks],
        **{name: float(np.mean([getattr(run, name) for run in runs])) for name in ("steps", *_SECONDS)},
    )


_SECONDS = ("learn_cpu_s", "find_cpu_s")


def _run(preset: Preset, points: Points, seed: int) -> BedRow:
    queries = [QueryPoint(image=0, x=x, y=y) for x, y in points.tolist()]
    params = SdCorrespondenceParams(preset=preset, queries=queries, targets=[1])
    work = laid_out(params, CanonicalReader(frequency=FREQUENCY, seed=seed), seed)
    began = time.process_time()
    work.pulse.stage("encoding")
    work.search.encode([0])
    work.pulse.stage("optimisation")
    meter = work.search.meter(work.search.units_to_learn(work.batches))
    learnt = work.search.learn(work.batches, "learn", meter)
    learnt_at = time.process_time()
    work.pulse.stage("transfer")
    matches = work.matches(shares_of(work.batches, learnt))
    go_there(work, learnt, matches)
    ended = time.process_time()
    found = [matches.there[index, 1] for index in range(len(points))]
    return BedRow(
        preset,
        errors=_errors(found, points, soft=matches.soft),
        peak_errors=_errors(found, points, soft=False),
        soft_errors=_errors(found, points, soft=True),
        peaks=[match.peak for match in found],
        steps=float(torch.cat([one.losses for one in learnt]).isfinite().sum(-1).float().mean()),
        learn_cpu_s=(learnt_at - began) / len(points),
        find_cpu_s=(ended - learnt_at) / len(points),
    )


def _errors(found: Sequence[Found], points: Points, *, soft: bool) -> list[float]:
    places = np.array([match.place(soft=soft) for match in found])
    errors: list[float] = np.linalg.norm(places - in_target(points), axis=1).tolist()
    return errors


@dataclass(frozen=True)
class _DrawnPictures(Pictures):
    """Pictures that are not rounded to 256 colours."""

    drawn: Sequence[Tensor] = field(default_factory=list)

    def scene(self, index: int) -> Scene:
        return Scene(self.reader, self.drawn[index], self.crops, tick=self.tick)


def laid_out(params: SdCorrespondenceParams, reader: Reader, seed: int) -> Work:
    """Lay out a job on both pictures of 512 pixels, for a reader of canonical coordinates."""
    drawn = [canonical_picture(*place, size=FRAME) for place in _PLACES]
    images = [InputImage(f"{number}.png", _rounded(picture)) for number, picture in enumerate(drawn)]
    work = lay_out(images, params, reader, Run.local(seed=seed, stages=SPEC.stages))
    plain = {one.name: getattr(work.search.pictures, one.name) for one in fields(Pictures)}
    pictures = _DrawnPictures(**plain, drawn=[canonical_picture(*place, size=params.working_size) for place in _PLACES])
    passes = Passes(reader, work.pulse.log, items=ITEMS_AT_ONCE)
    return replace(work, search=Search(pictures, work.search.queries, passes, Kept(), work.pulse))


def _rounded(picture: Tensor) -> npt.NDArray[np.uint8]:
    rounded: npt.NDArray[np.uint8] = (255 * picture.clamp(0, 1)).round().byte().permute(1, 2, 0).contiguous().numpy()
    return rounded
