from collections.abc import Mapping

import pytest
import torch
from torch import Tensor

from api_schemas.methods.spec import Stage
from workers.run_context import JobCanceled, Run, StopSignal

STAGES = (Stage(name="features", share=0.25), Stage(name="descent", share=0.5), Stage(name="export", share=0.25))


class Recorder:
    def __init__(self) -> None:
        self.stages: list[str] = []
        self.fractions: list[float] = []
        self.metrics: list[dict[str, float]] = []
        self.checkpoints: list[tuple[str, int]] = []

    def stage(self, name: str) -> None:
        self.stages.append(name)

    def progress(self, fraction: float, *, step: int, total: int, metrics: Mapping[str, float]) -> None:
        assert 0 <= step <= total
        self.fractions.append(fraction)
        self.metrics.append(dict(metrics))

    def log(self, message: str) -> None:
        pass

    def checkpoint(self, state: Mapping[str, Tensor], *, stage: str, step: int) -> None:
        assert state
        self.checkpoints.append((stage, step))


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr("workers.run_context.time", clock)
    return clock


def make_run(recorder: Recorder, *, stop: StopSignal | None = None, interval_s: float = 10.0) -> Run:
    return Run(
        seed=0,
        device=torch.device("cpu"),
        stages=STAGES,
        reporter=recorder,
        stop=stop,
        checkpoint_interval_s=interval_s,
    )


def state() -> dict[str, Tensor]:
    return {"x": torch.zeros(1)}


def test_the_fraction_follows_the_shares_of_the_stages(clock: Clock) -> None:
    recorder = Recorder()
    run = make_run(recorder)
    run.stage("features")
    run.step(1, 2)
    run.stage("descent")
    for step in (1, 2):
        clock.now += 1
        run.step(step, 2)
    run.stage("export")
    clock.now += 1
    run.step(1, 2)
    assert recorder.fractions == pytest.approx([0.125, 0.5, 0.75, 0.875])
    assert recorder.stages == ["features", "descent", "export"]


def test_the_fraction_never_goes_back(clock: Clock) -> None:
    recorder = Recorder()
    run = make_run(recorder)
    run.stage("descent")
    run.step(9, 10)
    clock.now += 1
    run.step(1, 10)
    assert recorder.fractions == pytest.approx([0.7, 0.7])


def test_progress_is_reported_at_most_twice_a_second(clock: Clock) -> None:
    recorder = Recorder()
    run = make_run(recorder)
    run.stage("descent")
    for step in range(1, 301):
        clock.now += 0.01
        run.step(step, 300)
    assert 5 <= len(recorder.fractions) <= 7


def test_metrics_that_are_not_finite_are_left_out() -> None:
    recorder = Recorder()
    run = make_run(recorder)
    run.step(1, 1, loss=float("nan"), error=float("inf"), weight=2)
    assert recorder.metrics == [{"weight": 2.0}]


def test_checkpoints_come_at_the_interval_and_only_where_there_is_a_state(clock: Clock) -> None:
    recorder = Recorder()
    run = make_run(recorder)
    run.stage("descent")
    for step in range(1, 26):
        clock.now += 1
        run.step(step, 50, state=state)
    assert recorder.checkpoints == [("descent", 10), ("descent", 20)]
    for step in range(26, 50):
        clock.now += 1
        run.step(step, 50)
    assert len(recorder.checkpoints) == 2


def test_a_requested_stop_is_raised_at_the_next_step_or_stage() -> None:
    for act in (lambda run: run.step(1, 2), lambda run: run.stage("descent")):
        stop = StopSignal()
        run = make_run(Recorder(), stop=stop)
        run.stage("features")
        stop.request()
        with pytest.raises(JobCanceled):
            act(run)


def test_no_method_swallows_a_stop_by_accident() -> None:
    assert not issubclass(JobCanceled, Exception)


def test_a_stop_with_checkpoint_saves_the_state_first() -> None:
    recorder, stop = Recorder(), StopSignal()
    run = make_run(recorder, stop=stop)
    run.stage("descent")
    stop.request(checkpoint=True)
    with pytest.raises(JobCanceled):
        run.step(3, 9, state=state)
    assert recorder.checkpoints == [("descent", 3)]


def test_a_stop_without_checkpoint_saves_nothing(clock: Clock) -> None:
    recorder, stop = Recorder(), StopSignal()
    run = make_run(recorder, stop=stop)
    clock.now += 100
    stop.request()
    with pytest.raises(JobCanceled):
        run.step(3, 9, state=state)
    assert recorder.checkpoints == []


def test_an_unknown_stage_is_named_with_the_known_ones() -> None:
    with pytest.raises(ValueError, match=r"'melting'.*features, descent, export"):
        make_run(Recorder()).stage("melting")


def test_stage_seconds_add_up(clock: Clock) -> None:
    run = make_run(Recorder())
    clock.now += 5
    run.stage("features")
    clock.now += 2
    run.stage("descent")
    clock.now += 3
    run.stage("features")
    clock.now += 4
    assert run.stage_seconds == {"features": 6.0, "descent": 3.0}


def test_quiet_seconds_count_from_the_last_sign(clock: Clock) -> None:
    run = make_run(Recorder())
    run.stage("descent")
    clock.now += 4
    assert run.quiet_s == 4
    run.step(1, 2)
    assert run.quiet_s == 0


def test_a_local_run_takes_any_stage_and_keeps_nothing() -> None:
    run = Run.local(seed=3, device="cpu")
    run.stage("anything")
    run.step(1, 1, state=lambda: pytest.fail("a local run has no checkpoints"), loss=1.0)
    assert (run.seed, run.device.type, run.resume) == (3, "cpu", None)
