"""What a running method sees of the world: seed, device, progress, cancellation and checkpoints."""

import math
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from threading import Event
from typing import Protocol, Self

import torch
from torch import Tensor

from api_schemas.methods.spec import Stage

PROGRESS_INTERVAL_S = 0.5

State = Callable[[], Mapping[str, Tensor]]


class JobCanceled(BaseException):
    """The run was told to stop. Not an `Exception`, so that no method swallows it by accident."""


class Reporter(Protocol):
    """Where a run tells how it goes."""

    def stage(self, name: str) -> None:
        """A stage begins."""

    def progress(self, fraction: float, *, step: int, total: int, metrics: Mapping[str, float]) -> None:
        """A step was done; called at most twice a second."""

    def log(self, message: str) -> None:
        """Something worth telling the user."""

    def checkpoint(self, state: Mapping[str, Tensor], *, stage: str, step: int) -> None:
        """Keep a state from which the run can go on."""


class SilentReporter:
    """Reporter that says nothing and keeps nothing."""

    def stage(self, name: str) -> None:
        """Ignore."""

    def progress(self, fraction: float, *, step: int, total: int, metrics: Mapping[str, float]) -> None:
        """Ignore."""

    def log(self, message: str) -> None:
        """Ignore."""

    def checkpoint(self, state: Mapping[str, Tensor], *, stage: str, step: int) -> None:
        """Ignore."""


class StopSignal:
    """Asks a run, from another thread, to stop at its next step."""

    def __init__(self) -> None:
        self._stop = Event()
        self._save = False

    def request(self, *, checkpoint: bool = False) -> None:
        """Stop at the next step; with `checkpoint`, save the state first if the step has one."""
        self._save = checkpoint
        self._stop.set()

    @property
    def requested(self) -> bool:
        """Whether the run shall stop."""
        return self._stop.is_set()

    @property
    def checkpoint_first(self) -> bool:
        """Whether a state shall be saved before stopping."""
        return self._save


class Run:
    """Given to every method; see `stage`, `step` and `log`."""

    def __init__(
        self,
        *,
        seed: int,
        device: torch.device,
        stages: Sequence[Stage] = (),
        reporter: Reporter | None = None,
        stop: StopSignal | None = None,
        resume: dict[str, Tensor] | None = None,
        checkpoint_interval_s: float = math.inf,
        used: Mapping[str, Path] | None = None,
        meshes: Mapping[str, Path] | None = None,
    ) -> None:
        self.seed = seed
        self.device = device
        self.used = used or {}
        """Folders with the results of the jobs that parameters name, by the parameter's name: artifacts but pictures,
        and the manifest."""
        self.meshes = meshes or {}
        """GLB files of the meshes that parameters name, by the parameter's name; `alignment.glb.read_glb` reads one."""
        self.resume = resume
        """The state given to the last checkpoint of an earlier attempt (on the CPU), or None to begin afresh."""
        self._stages = _stage_spans(stages)
        self._reporter = reporter or SilentReporter()
        self._stop = stop or StopSignal()
        self._checkpoint_interval_s = checkpoint_interval_s
        self._stage = ""
        self._fraction = 0.0
        self._seconds: dict[str, float] = {}
        self._stage_began = self._checkpointed = self._last_sign = time.monotonic()
        self._progressed = -math.inf

    @classmethod
    def local(cls, seed: int = 0, device: str = "cpu", stages: Sequence[Stage] = ()) -> Self:
        """A silent run for scripts, notebooks and tests: nothing is reported, saved or canceled."""
        return cls(seed=seed, device=torch.device(device), stages=stages)

    def stage(self, name: str) -> None:
        """Begin a stage of the method's spec.

        Raises:
            ValueError: the spec has no such stage.
            JobCanceled: the run shall stop.
        """
        if self._stages and name not in self._stages:
            raise ValueError(f"stage {name!r} is not in the method's spec; it has {', '.join(self._stages)}")
        self._close_stage()
        self._last_sign = self._stage_began
        self._stage = name
        self._advance(0.0)
        self._reporter.stage(name)
        if self._stop.requested and not self._stop.checkpoint_first:
            raise JobCanceled

    def step(self, step: int, total: int, *, state: State | None = None, **metrics: float) -> None:
        """Tell that `step` of `total` steps of this stage are done (1-based: call it at the end of an iteration).

        Args:
            step: steps of this stage that are done.
            total: steps of this stage.
            state: gives all tensors needed to go on after this step, random generators' states and the name or
                number of the stage included. Called only when a checkpoint is due; the tensors are copied at once.
            metrics: figures to show, such as losses; those that are not finite are left out.

        Raises:
            JobCanceled: the run shall stop.
        """
        now = self._last_sign = time.monotonic()
        self._advance(step / total if total else 1.0)
        stopping = self._stop.requested
        if state is not None and self._checkpoint_due(now, stopping=stopping):
            self._reporter.checkpoint(state(), stage=self._stage, step=step)
            self._checkpointed = time.monotonic()
        if stopping:
            raise JobCanceled
        if now - self._progressed >= PROGRESS_INTERVAL_S:
            self._progressed = now
            finite = {name: float(value) for name, value in metrics.items() if math.isfinite(value)}
            self._reporter.progress(self._fraction, step=step, total=total, metrics=finite)

    def log(self, message: str) -> None:
        """Tell the user something, as an event of the job; a sentence, not a stream."""
        self._reporter.log(message)

    @property
    def stage_seconds(self) -> dict[str, float]:
        """Seconds spent in each stage so far."""
        self._close_stage()
        return dict(self._seconds)

    @property
    def quiet_s(self) -> float:
        """Seconds since the method last gave a sign of life."""
        return time.monotonic() - self._last_sign

    def _checkpoint_due(self, now: float, *, stopping: bool) -> bool:
        if stopping:
            return self._stop.checkpoint_first
        return now - self._checkpointed >= self._checkpoint_interval_s

    def _advance(self, share_of_stage: float) -> None:
        start, share = self._stages.get(self._stage, (0.0, 0.0))
        self._fraction = max(self._fraction, min(1.0, start + share * min(1.0, share_of_stage)))

    def _close_stage(self) -> None:
        now = time.monotonic()
        if self._stage:
            self._seconds[self._stage] = self._seconds.get(self._stage, 0.0) + now - self._stage_began
        self._stage_began = now


def _stage_spans(stages: Sequence[Stage]) -> dict[str, tuple[float, float]]:
    spans: dict[str, tuple[float, float]] = {}
    start = 0.0
    for stage in stages:
        spans[stage.name] = (start, stage.share)
        start += stage.share
    return spans
