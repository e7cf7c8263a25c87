"""How far a stage is."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor

from workers.methods.features import Heartbeat
from workers.methods.sd_correspondence.kept import Kept


@dataclass
class Meter:
    """Counts the units of a stage's work; every count is a chance for a checkpoint of all that is kept."""

    pulse: Heartbeat
    kept: Kept
    total: int
    done: int = 0

    def advance(
        self, units: int = 1, *, state: Callable[[], dict[str, Tensor]] | None = None, **metrics: float
    ) -> None:
        """Tell that units are done; `state` replaces what a checkpoint would hold.

        Raises:
            JobCanceled: the run shall stop.
        """
        self.done += units
        self.pulse.step(self.done, self.total, state=state or self.kept.state, **metrics)
