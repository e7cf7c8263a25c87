"""The tables of this benchmark."""

from __future__ import annotations

from collections.abc import Sequence

from rich.table import Table

from benchmarks.congealing_3d.beds import GOOD_DEG, BenchRow, PoseRow
from benchmarks.congealing_3d.multiview import MultiviewRow
from benchmarks.congealing_3d.photographs import PhotographRow
from benchmarks.congealing_3d.search import Compared


def search_table(rows: Sequence[Compared]) -> Table:
    """Both forms of the search."""
    table = Table(
        "search",
        *("candidates", "form", "images", "CPU s", "wall s", "peak GB", "CPU s for all", "times faster", "choices"),
    )
    for row in rows:
        images, alone = len(row.batched.choices), len(row.alone.choices)
        one, many = row.alone, row.batched
        table.add_row(
            row.features,
            str(row.candidates),
            "one by one",
            str(alone),
            f"{one.cost.cpu_s:.1f}",
            f"{one.cost.wall_s:.1f}",
            f"{one.peak_gb:.2f}",
            f"{one.cost.cpu_s * row.factor:.0f} = {row.factor:g} x measured",
            "1.0",
            "",
        )
        table.add_row(
            "",
            "",
            "at once",
            str(images),
            f"{many.cost.cpu_s:.1f}",
            f"{many.cost.wall_s:.1f}",
            f"{many.peak_gb:.2f}",
            f"{many.cost.cpu_s:.0f}",
            f"{row.speedup:.1f}",
            "the same" if row.is_same else "DIFFERENT",
        )
    return table


def pose_table(title: str, rows: Sequence[PoseRow]) -> Table:
    """Rotation errors against the truth."""
    table = Table(
        title,
        *("images", "median deg", "95 %", f"< {GOOD_DEG:.0f}", "< 30", "best candidate: median", "95 %"),
        *("ambiguous", "by chance", "candidates: CPU s", "CPU s in all", "wall s"),
    )
    for row in rows:
        table.add_row(
            row.name,
            str(len(row.errors)),
            f"{row.median_deg:.1f}",
            f"{row.p95_deg:.1f}",
            f"{row.under(GOOD_DEG):.2f}",
            f"{row.under(30):.2f}",
            f"{row.grid_median_deg:.1f}",
            f"{row.grid_p95_deg:.1f}",
            f"{row.ambiguous:.2f}",
            f"{row.by_chance:.2f}",
            f"{row.candidates_cost.cpu_s:.0f}",
            f"{row.cost.cpu_s:.0f}",
            f"{row.cost.wall_s:.0f}",
        )
    return table


def bench_table(rows: Sequence[BenchRow], images: int) -> Table:
    """The bench that looks the same after half a turn."""
    table = Table(
        f"bench, {images} images", "asymmetry", "told ambiguous", "half a turn off", "median deg to the nearer", "CPU s"
    )
    for row in rows:
        figures = (f"{row.ambiguous:.2f}", f"{row.flipped:.2f}", f"{row.median_deg:.1f}", f"{row.cost.cpu_s:.0f}")
        table.add_row("", f"{row.asymmetry:g}", *figures)
    return table


def photograph_table(rows: Sequence[PhotographRow], without_mesh: Sequence[tuple[str, str]]) -> Table:
    """Photographs; sets of whose kind there is no mesh are named without figures."""
    table = Table(
        "photographs, within 30 deg",
        *("shape", "features", "elevations", "images", "chance", "nearest template", "best candidate"),
        *("poses found", "median deg", "aligned", "median deg", "ambiguous", "by chance", "CPU s"),
    )
    for row in rows:
        table.add_row(
            row.photographs,
            row.shape,
            row.features,
            "{:g}..{:g}".format(*row.elevations),
            str(row.images),
            f"{row.chance:.3f}",
            f"{row.nearest:.2f} ({row.nearest_deg:.0f})",
            f"{row.candidate:.2f}",
            f"{row.found:.2f}",
            f"{row.found_deg:.0f}",
            f"{row.aligned:.2f}",
            f"{row.aligned_deg:.0f}",
            f"{row.ambiguous:.2f}",
            f"{row.by_chance:.2f}",
            f"{row.cost.cpu_s:.0f}",
        )
    if without_mesh:
        told = ", ".join(f"{name} ({category})" for name, category in without_mesh)
        table.caption = (
            f"no mesh of their kind, so none was searched: {told}; they take a shape that is made (`generate`)"
        )
    return table


def multiview_table(rows: Sequence[MultiviewRow]) -> Table:
    """Photographs of one object, whose shape was carved from others: median degrees / within 15 / within 30."""
    table = Table(
        "one object, median deg / < 15 / < 30",
        *("features", "masks", "images", "hull IoU", "chance", "nearest template", "best candidate"),
        *("poses found", "aligned", "ambiguous", "by chance", "CPU s"),
    )
    for row in rows:
        errors = (row.chance, row.nearest, row.candidate, row.found, row.aligned)
        table.add_row(
            row.name,
            row.features,
            row.masks,
            f"{row.images} ({row.carved_from} carved)",
            f"{row.hull_iou:.2f}",
            *(f"{each.median_deg:.1f} / {each.within_15:.2f} / {each.within_30:.2f}" for each in errors),
            f"{row.ambiguous:.2f}",
            f"{row.by_chance:.2f}",
            f"{row.cpu_s:.0f}",
        )
    return table
