"""The tables of this benchmark."""

from __future__ import annotations

from collections.abc import Sequence

from rich.table import Table

from benchmarks.geo_aware.ambiguous import AmbiguousRow
from benchmarks.geo_aware.job import JobCost
from benchmarks.geo_aware.real import FlipRow, TrainedRow
from benchmarks.geo_aware.speed import Compared


def speed_table(rows: Sequence[Compared]) -> Table:
    """CPU seconds of both forms."""
    table = Table("same inputs, one thread", "official form, CPU s", "ours, CPU s", "times faster", "difference")
    for row in rows:
        figures = (f"{row.reference_s:.2f}", f"{row.ours_s:.3f}", f"{row.speedup:.1f}", f"{row.difference:.1e}")
        table.add_row(row.what, *figures)
    return table


def ambiguous_table(row: AmbiguousRow) -> Table:
    """Parts that only their side tells apart."""
    table = Table(f"look-alike parts, {row.categories} categories", "PCK@0.1", "PCK@0.05", "CPU s each")
    table.add_row("raw features", f"{row.raw:.3f}", f"{row.raw_05:.3f}", "")
    table.add_row(f"adapter, {row.steps} steps", f"{row.adapter:.3f}", f"{row.adapter_05:.3f}", f"{row.cpu_s:.0f}")
    return table


def trained_table(rows: Sequence[TrainedRow]) -> Table:
    """Photographs that were not learned from, before and after."""
    table = Table(
        "photographs", "split", "train/test", "points", "before", "after", "look-alike", "before", "after", "CPU s"
    )
    for row in rows:
        table.add_row(
            row.photographs,
            str(row.seed),
            f"{row.train}/{row.test}",
            str(row.points),
            _share(row.before),
            _share(row.after),
            str(row.geo_points),
            _share(row.geo_before),
            _share(row.geo_after),
            f"{row.cpu_s:.0f}",
        )
    return table


def flip_table(rows: Sequence[FlipRow]) -> Table:
    """Photographs without training."""
    table = Table("photographs, plain features", "images", "as they are", "with mirrored variants", "CPU s")
    for row in rows:
        table.add_row(row.photographs, str(row.images), _share(row.without), _share(row.mirrored), f"{row.cpu_s:.0f}")
    return table


def cost_table(cost: JobCost) -> Table:
    """A whole job."""
    table = Table("default job", "pairs", "CPU s", "wall s", "peak GB")
    table.add_row(
        f"{cost.images} images", str(cost.pairs), f"{cost.cpu_s:.1f}", f"{cost.wall_s:.1f}", f"{cost.peak_gb:.2f}"
    )
    return table


def _share(value: float | None) -> str:
    return "" if value is None else f"{value:.3f}"
