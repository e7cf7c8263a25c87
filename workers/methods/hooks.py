"""How an optimisation reports, saves and stops."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Protocol

from torch import Tensor


class Hooks(Protocol):
    """How a run reports, saves and stops; `workers.run_context.Run` is one."""

    @property
    def resume(self) -> Mapping[str, Tensor] | None:
        """A state once given by `step`, to go on from; None begins afresh."""

    def stage(self, name: str) -> None:
        """A stage begins."""

    def step(
        self, step: int, total: int, *, state: Callable[[], dict[str, Tensor]] | None = None, **metrics: float
    ) -> None:
        """A step of the stage is done. May raise to stop the run."""


class Quiet:
    """Hooks that do nothing."""

    resume: Mapping[str, Tensor] | None = None

    def stage(self, name: str) -> None:
        """Ignore."""

    def step(
        self, step: int, total: int, *, state: Callable[[], dict[str, Tensor]] | None = None, **metrics: float
    ) -> None:
        """Ignore."""
