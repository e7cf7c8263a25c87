"""CPU seconds of the presets beside the official form, on a tiny network of the same layers."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
import torch
from torch import Tensor

from api_schemas.methods.sd_correspondence import SPEC, Preset, QueryPoint, SdCorrespondenceParams
from benchmarks.sd_correspondence.bed import PRESETS
from benchmarks.sd_correspondence.counts import learning
from benchmarks.sd_correspondence.networks import tiny_networks
from workers.backbones.base import Tick, no_tick
from workers.backbones.diffusion.attention import AttentionReader
from workers.backbones.diffusion.networks import DiffusionNetworks
from workers.evaluation.official_prompts import Cropping, OfficialNetwork, averaged, optimised
from workers.evaluation.synthetic import sample_set
from workers.methods.base import InputImage
from workers.methods.sd_correspondence.options import Options, options_of
from workers.methods.sd_correspondence.plan import places_of
from workers.methods.sd_correspondence.reader import generator
from workers.methods.sd_correspondence.search import Learnt
from workers.methods.sd_correspondence.squares import square_picture
from workers.methods.sd_correspondence.work import Work, lay_out
from workers.run_context import Run

T = TypeVar("T")

SIZE = 256
POINTS = np.array([(60.0, 70.0), (185.0, 65.0), (75.0, 190.0), (195.0, 200.0)])


@dataclass(frozen=True)
class SpeedRow:
    """CPU seconds of one form.

    Attributes:
        form: the preset, or the official form.
        step_s: of a step of a query in one round, without what is done once for a crop.
        crop_s: of what is done once for a crop: encoding, and features where they are fixed.
        crops: that a whole run on the points sees.
        query_steps: steps of all points in all rounds that a whole run takes.
        readings: of all points in all rounds that a whole run takes in one target.
        read_s: of one of them, all included.
    """

    form: str
    step_s: float
    crop_s: float
    crops: int
    query_steps: int
    readings: int
    read_s: float

    @property
    def whole_step_s(self) -> float:
        """Of a step of a query in one round, what is done once for a crop included, as a share."""
        return self.step_s + self.crop_s * self.crops / self.query_steps

    @property
    def query_s(self) -> float:
        """Of a query in a whole run of all its steps, learnt, and read in one target."""
        return (self.whole_step_s * self.query_steps + self.read_s * self.readings) / len(POINTS)


@dataclass(frozen=True)
class Speeds:
    """The official form, and the presets beside it."""

    official_form: SpeedRow
    presets: list[SpeedRow]
    difference: float
    """Largest between the losses of the official form and of preset `official`, as a share."""


def speeds(steps: int, crops: int) -> Speeds:
    """Measure so many steps, and readings in so many crops."""
    images = [InputImage(image.name, image.rgb) for image in sample_set(count=2).images]
    runs = [_measured(preset, images, steps, crops) for preset in PRESETS]
    reference, losses = _official(runs[0], steps, crops)
    ours = runs[0].learnt[0].losses[0, 0]
    difference = float((ours - losses).abs().max() / losses.abs().max())
    return Speeds(reference, [run.row for run in runs], difference)


class _Clocked(AttentionReader):
    """Tells apart what is done once for a crop."""

    def __init__(self, networks: DiffusionNetworks) -> None:
        super().__init__(networks)
        self.once_s, self.encoded = 0.0, 0

    def encode(self, pictures: Tensor, *, tick: Tick = no_tick) -> Tensor:
        latents, seconds = _timed(lambda: super(_Clocked, self).encode(pictures, tick=tick))
        self.once_s += seconds
        self.encoded += len(pictures)
        return latents

    def features(
        self, noisy: Tensor, timestep: int, contexts: Tensor, owners: Tensor, *, tick: Tick = no_tick
    ) -> list[Tensor]:
        work = super().features
        found, seconds = _timed(lambda: work(noisy, timestep, contexts, owners, tick=tick))
        self.once_s += 0.0 if torch.is_grad_enabled() else seconds
        return found


@dataclass(frozen=True)
class _Measured:
    """A few steps and readings of a preset."""

    work: Work
    options: Options
    learnt: list[Learnt]
    row: SpeedRow


def _measured(preset: Preset, images: list[InputImage], steps: int, crops: int) -> _Measured:
    reader, whole = _Clocked(tiny_networks()), options_of(_params(preset, images))
    work = lay_out(
        images, _params(preset, images, steps=steps, read_crops=crops), reader, Run.local(stages=SPEC.stages)
    )
    work.pulse.stage("encoding")
    learnt, learn_s = _timed(lambda: _learnt(work))
    once_s, encoded = reader.once_s, reader.encoded
    meter = work.search.meter(work.search.units_to_find(1, work.batches))
    _, read_s = _timed(lambda: work.search.find(1, work.batches, learnt, "found", meter))
    items = len(POINTS) * whole.rounds
    row = _row(
        preset,
        whole,
        step_s=(learn_s - once_s) / (items * steps),
        crop_s=once_s / encoded,
        read_s=read_s / (items * crops),
    )
    return _Measured(work, whole, learnt, row)


def _learnt(work: Work) -> list[Learnt]:
    work.search.encode([0])
    return work.search.learn(work.batches, "learn", work.search.meter(work.search.units_to_learn(work.batches)))


def _row(form: str, options: Options, *, step_s: float, crop_s: float, read_s: float) -> SpeedRow:
    _, seen = learning(options, POINTS, options.steps)
    return SpeedRow(
        form,
        step_s=step_s,
        crop_s=crop_s,
        crops=options.crop_bank or len(seen),
        query_steps=len(POINTS) * options.rounds * options.steps,
        readings=len(POINTS) * options.rounds * options.read_crops,
        read_s=read_s,
    )


def _official(run: _Measured, steps: int, crops: int) -> tuple[SpeedRow, Tensor]:
    """The official form on the first point with the random numbers of `run`: its row, and the losses (steps,)."""
    pictures, options = run.work.search.pictures, run.options
    networks = tiny_networks()
    network, cropping = OfficialNetwork(networks.unet, networks.vae), Cropping(SIZE, pictures.crops.side)
    first = places_of(run.work.search.queries[:1], pictures.squares[0])
    seed = (pictures.seed, pictures.fingerprint(0), first.tolist())
    start = torch.randn((1, *pictures.reader.embedding_shape), generator=generator(*seed, "embedding", 0))
    views = generator(*seed, 0)
    source, target = (
        square_picture(image.rgb, square) for image, square in zip(pictures.images, pictures.squares, strict=True)
    )
    place = (float(first[0, 0]), float(first[0, 1]))
    (prompt, losses), learn_s = _timed(
        lambda: optimised(
            network,
            source,
            place,
            start,
            cropping=cropping,
            sigma=options.sigma,
            steps=steps,
            rate=options.learning_rate,
            source=views,
        )
    )
    _, read_s = _timed(lambda: averaged(network, target, prompt, cropping=cropping, crops=crops, source=views))
    row = _row("official form", options, step_s=learn_s / steps, crop_s=0.0, read_s=read_s / crops)
    return row, torch.tensor(losses)


def _params(preset: Preset, images: list[InputImage], **tuning: int) -> SdCorrespondenceParams:
    scale = np.array([images[0].width, images[0].height]) / SIZE
    queries = [QueryPoint(image=0, x=x, y=y) for x, y in (POINTS * scale).tolist()]
    return SdCorrespondenceParams.model_validate(
        {"preset": preset, "queries": queries, "targets": [1], "working_size": SIZE, "tuning": tuning}
    )


def _timed(work: Callable[[], T]) -> tuple[T, float]:
    began = time.process_time()
    result = work()
    return result, time.process_time() - began
