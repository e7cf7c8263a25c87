"""What changes in the course of a distillation: noise levels, pictures a step, detail of the field.

The defaults are those of MVDream's own distillation (arXiv 2308.16512), for 10 000 steps; fewer steps scale it.
"""

from __future__ import annotations

from dataclasses import dataclass

OFFICIAL_STEPS = 10_000
VIEWS = 4
"""Of a group, a quarter of a turn apart."""
_TIMES = 1000
_FIRST, _LAST_LOW, _LAST_HIGH = 0.98, 0.02, 0.50
_ANNEALED = 0.8


@dataclass(frozen=True)
class Phase:
    """Pictures of the steps from a share of the run on."""

    begins: float
    """Share of all steps, in [0, 1)."""
    groups: int
    """Of `VIEWS` views each, in a step."""
    size: int
    """Pixels a side at which views are rendered."""


OFFICIAL_PHASES = (Phase(0.0, 2, 64), Phase(0.5, 1, 256))
FAST_PHASES = (Phase(0.0, 1, 64), Phase(0.5, 1, 128))


def phase_at(phases: tuple[Phase, ...], step: int, steps: int) -> Phase:
    """The phase of a step, from 0, of `steps`."""
    return [phase for phase in phases if phase.begins * steps <= step][-1]


def time_window(step: int, steps: int) -> tuple[int, int]:
    """Least and greatest time, both inclusive, that a step, from 0, of `steps` draws from [0, 999]."""
    progress = min(1.0, step / (_ANNEALED * steps))
    return _time(_LAST_LOW, progress), _time(_LAST_HIGH, progress)


def active_levels(count: int, step: int, steps: int) -> int:
    """How many of `count` levels of detail are in use: one more each `1 / (2 count)` of the run, all at its half."""
    return min(count, 1 + int(2 * count * step / steps))


def _time(last: float, progress: float) -> int:
    return int(_TIMES * (_FIRST + (last - _FIRST) * progress))
