"""A reporter that keeps what a run tells, and can stop it."""

from collections.abc import Mapping

import torch
from torch import Tensor

from workers.run_context import Run, StopSignal


class Recorder:
    """Keeps stages, steps and checkpoints; asks for a stop at the first step of a stage."""

    def __init__(self, *, stop_at: str | None = None) -> None:
        self.stop = StopSignal()
        self.stages: list[str] = []
        self.checkpoints: list[dict[str, Tensor]] = []
        self._stop_at = stop_at

    def stage(self, name: str) -> None:
        self.stages.append(name)
        if name == self._stop_at:
            self.stop.request(checkpoint=True)

    def progress(self, fraction: float, *, step: int, total: int, metrics: Mapping[str, float]) -> None:
        assert 0 <= fraction <= 1
        assert 0 <= step <= total
        assert all(value == value for value in metrics.values())

    def log(self, message: str) -> None:
        """Ignore."""

    def checkpoint(self, state: Mapping[str, Tensor], *, stage: str, step: int) -> None:  # noqa: ARG002
        self.checkpoints.append({name: tensor.clone() for name, tensor in state.items()})

    def run(self, *, seed: int = 0, resume: dict[str, Tensor] | None = None) -> Run:
        """A run that tells this recorder everything and checkpoints at every step."""
        return Run(
            seed=seed,
            device=torch.device("cpu"),
            reporter=self,
            stop=self.stop,
            resume=resume,
            checkpoint_interval_s=0,
        )
