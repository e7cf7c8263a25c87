"""The figures for people."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from rich.table import Table

from benchmarks.asic.analytic import S8Row, Scores
from benchmarks.asic.cost import IMAGES, JobCost
from benchmarks.asic.official import FULL_ITERATIONS, OfficialRun
from benchmarks.asic.real import CYCLE, PhotographRow
from benchmarks.asic.scoring import ALPHA, LENGTHS
from benchmarks.asic.synthetic import SyntheticRow


def s8_table(splines: Sequence[S8Row], run: OfficialRun, published: S8Row) -> Table:
    """All maps of S8."""
    table = _table(
        "S8 from given matches: PCK@.10/.05/.02, and at the return of cycles (percent)",
        left=("maps",),
        right=("pairs", "2-cycles", "3-cycles", "kept", "inliers", "CPU s"),
    )
    for row in (*splines, run.row, published):
        scores = (_slashed(values) for values in (row.pairs, row.two_cycles, row.three_cycles))
        table.add_row(row.maps, *scores, *(_figure(value) for value in (row.kept, row.inliers, row.cpu_s)))
    if not run.measured:
        name = f"{FULL_ITERATIONS} iterations, extrapolated from {run.iterations} measured iterations"
        table.add_row(name, "", "", "", "", "", _figure(run.full_cpu_s))
    return table


def synthetic_table(rows: Sequence[SyntheticRow]) -> Table:
    """Pairs beside cycles on drawn pictures."""
    cycles = [f"{length}-cycles" for length in LENGTHS]
    table = _table(
        f"Drawn pictures: PCK@{ALPHA} in percent; of cycles at the return, and of all stops",
        left=("pictures", "maps"),
        right=("pairs", *cycles),
    )
    for row in rows:
        found = row.consistency
        both = (f"{found.returned[length]:.1f}, {found.pooled[length]:.1f}" for length in LENGTHS)
        table.add_row(f"{row.pictures} ({row.images})", row.maps, f"{found.pairs:.1f}", *both)
    return table


def photograph_table(rows: Sequence[PhotographRow]) -> Table:
    """Pairs beside cycles on photographs; a row a set and kind of maps."""
    table = _table(
        f"Photographs: PCK@{ALPHA} in percent",
        left=("set", "maps"),
        right=("pairs", f"{CYCLE}-cycles", "all stops", "CPU s"),
    )
    for row in rows:
        for name, found in row.scores.items():
            seconds = f"{row.asic_cpu_s:.1f} + {row.features_cpu_s:.1f} features" if name == "asic" else ""
            scores = (found.pairs, found.returned[CYCLE], found.pooled[CYCLE])
            table.add_row(f"{row.photographs} ({row.images})", name, *map(_figure, scores), seconds)
    return table


def cost_table(cost: JobCost) -> Table:
    """The default job."""
    table = _table(
        f"A default job of {IMAGES} images, features at hand, one thread",
        left=(),
        right=("CPU s", "of these writing", "wall s", "peak GB"),
    )
    table.add_row(*map(_figure, (cost.cpu_s, cost.export_cpu_s, cost.wall_s)), f"{cost.peak_gb:.2f}")
    return table


def _table(title: str, *, left: Iterable[str], right: Iterable[str]) -> Table:
    table = Table(title=title)
    for column in left:
        table.add_column(column)
    for column in right:
        table.add_column(column, justify="right")
    return table


def _slashed(scores: Scores) -> str:
    return "/".join(f"{score:g}" for score in scores)


def _figure(value: float | None) -> str:
    return "" if value is None else f"{value:.1f}"
