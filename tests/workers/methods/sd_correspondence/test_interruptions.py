"""Jobs that are stopped, go on, or meet a network that overflows."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from tests.workers.methods.recorder import Recorder
from tests.workers.methods.sd_correspondence.bed import (
    SMALL,
    SOURCE,
    THREE,
    TINY,
    TWO,
    WIDE,
    found,
    params,
    points,
    rows,
    same,
    tiny,
)
from workers.backbones.base import Tick, no_tick
from workers.evaluation.attention_bed import CanonicalReader
from workers.methods.base import InputImage
from workers.methods.export import export
from workers.run_context import JobCanceled, Run, StopSignal


class Counting(CanonicalReader):
    """Counts what it reads."""

    def __init__(self) -> None:
        super().__init__()
        self.count = 0

    def attend(self, features: Sequence[Tensor], embeddings: Tensor, tokens: int) -> list[Tensor]:
        self.count += len(embeddings)
        return super().attend(features, embeddings, tokens)


def first_with(states: Sequence[Mapping[str, Tensor]], start: str) -> Mapping[str, Tensor]:
    """The first state that keeps something whose name begins so."""
    return next(state for state in states if any(name.startswith(start) for name in state))


@pytest.mark.parametrize("preset", ["fast", "cached"])
def test_a_job_can_go_on_from_any_checkpoint(preset: str) -> None:
    images, chosen = THREE[:2], tiny(preset, cycle=True, queries=TWO[:1])
    recorder, whole = Recorder(), Counting()
    expected = found(images, chosen, recorder.run(), reader=whole)
    assert recorder.stages == ["encoding", "optimisation", "transfer", "cycle"]
    kept = recorder.checkpoints
    halfway = [state for state in kept if any(name.startswith("learn-0-current") for name in state)]
    learning = halfway[len(halfway) // 2]
    reading, returning = first_with(kept, "own-"), first_with(kept, "back-")
    read = [whole.count]
    for state in (learning, reading, returning, kept[-1]):
        reader = Counting()
        assert same(found(images, chosen, Recorder().run(resume=state), reader=reader), expected)
        read.append(reader.count)
    assert read == sorted(set(read), reverse=True)
    assert read[-1] == 0
    assert any("current" in name for name in learning)
    assert not any("current" in name for name in reading)


class AfterSteps(StopSignal):
    """Asks for a stop when it has been looked at a number of times."""

    def __init__(self, steps: int) -> None:
        super().__init__()
        self.seen, self._steps = 0, steps

    @property
    def requested(self) -> bool:
        self.seen += 1
        return self.seen > self._steps


def stopping(stop: StopSignal) -> Run:
    return Run(seed=0, device=torch.device("cpu"), stop=stop)


@pytest.mark.parametrize("preset", ["official", "joint"])
def test_a_job_can_be_cancelled_at_any_step(preset: str) -> None:
    chosen = params(preset, queries=TWO[:1], tuning=TINY | {"steps": 2, "read_crops": 4}, cycle=True)
    counter = AfterSteps(10**9)
    found(THREE[:2], chosen, stopping(counter))
    assert counter.seen > 20
    for steps in [*range(6), *np.linspace(6, counter.seen - 1, 8).astype(int).tolist()]:
        with pytest.raises(JobCanceled):
            found(THREE[:2], chosen, stopping(AfterSteps(steps)))


class Broken(CanonicalReader):
    """Overflows on blue pictures."""

    def encode(self, pictures: Tensor, *, tick: Tick = no_tick) -> Tensor:
        latents = super().encode(pictures, tick=tick)
        return latents.where(pictures[:, 2].mean() < 0.7, torch.nan)


def blue(of: InputImage) -> InputImage:
    rgb = of.rgb.copy()
    rgb[..., 2] = 240
    return InputImage(f"blue {of.name}", rgb)


@pytest.mark.parametrize("preset", ["fast", "official"])
def test_an_image_on_which_the_network_overflows_spoils_no_other(preset: str, tmp_path: Path) -> None:
    tuning = TINY | ({"crop_bank": 0} if preset == "official" else {})
    images = [SOURCE, blue(SMALL), WIDE]
    chosen = params(preset, queries=TWO, tuning=tuning, cycle=True)
    told = found(images, chosen, reader=Broken())
    alone = found([SOURCE, WIDE], chosen)
    np.testing.assert_array_equal(points(told)[0, 2], points(alone)[0, 1])
    lost = points(told)[0, 1]
    assert bool(np.isnan(lost[:, 2:4]).all())
    assert lost[:, 4].tolist() == [0, 0]
    assert (1, 0) not in points(told)
    for row in rows(told):
        assert any("not finite in images 1," in problem for problem in row["problems"])
        assert row["targets"][0]["x"] is None
    json.dumps(told.documents, allow_nan=False)
    export(told, images, tmp_path)


def test_a_source_on_which_the_network_overflows_is_told() -> None:
    told = found([blue(SOURCE), WIDE], tiny(cycle=True), reader=Broken())
    for row in rows(told):
        assert len(row["problems"]) == 3
        assert row["loss_shares"] == [None, None]
    json.dumps(told.documents, allow_nan=False)
