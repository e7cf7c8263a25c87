"""The tables of this benchmark."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import mean, median

from rich.table import Table

from benchmarks.sd_correspondence.bed import BedRow
from benchmarks.sd_correspondence.gpu import GpuRow
from benchmarks.sd_correspondence.pieces import Pieces
from benchmarks.sd_correspondence.speed import SIZE, Speeds
from benchmarks.sd_correspondence.work import WorkRow


def bed_table(rows: Sequence[BedRow], seeds: int) -> Table:
    """Errors against the truth."""
    table = Table(
        f"pictures that tell the truth, points x seeds: {len(rows[0].errors) // seeds} x {seeds}",
        *("error px: mean", "median", "max", "highest pixel: mean", "max", "centroid: mean", "max"),
        *("peak", "steps", "CPU s a query: learn", "find"),
    )
    for row in rows:
        errors = [f"{of(row.errors):.1f}" for of in (mean, median, max)]
        errors += [f"{of(values):.1f}" for values in (row.peak_errors, row.soft_errors) for of in (mean, max)]
        rest = (f"{mean(row.peaks):.2f}", f"{row.steps:.1f}", f"{row.learn_cpu_s:.1f}", f"{row.find_cpu_s:.1f}")
        table.add_row(row.preset, *errors, *rest)
    return table


def pieces_table(pieces: Pieces) -> Table:
    """GFLOP beside what was counted on the official functions."""
    table = Table("piece of SD 1.4 at 512 px", "GFLOP", "known")
    rows = (
        ("autoencoder, a crop", pieces.encode, "1116.7"),
        ("whole U-Net, as the official code", pieces.official_forward, "803.3"),
        ("back from the official loss", pieces.official_back, "470.5"),
        ("U-Net up to the last layer read, and attention", pieces.features + pieces.attend, "479.4"),
        ("of it, the same for all embeddings", pieces.prefix, "41.9"),
        ("back to the embedding", pieces.back, "470.5"),
        ("attention to an embedding", pieces.attend, ""),
        ("a step on fixed features", pieces.fixed_step, ""),
    )
    for name, gflop, known in rows:
        table.add_row(name, f"{gflop:.1f}", known)
    return table


def work_table(rows: Sequence[WorkRow], authors: tuple[float, float]) -> Table:
    """TFLOP of jobs with as many queries each."""
    learn, read = authors
    table = Table(
        f"{_queries(rows)}, one target",
        *("way back", "steps on the bed", "TFLOP", "times less", "with all steps", "times less", "service's estimate"),
    )
    table.add_row("as its authors run it", "", "", f"{learn + read:.0f}", "1.0", f"{learn:.0f} + {read:.0f}", "1.0", "")
    for row in rows:
        table.add_row(
            row.preset,
            "yes" if row.cycle else "no",
            f"{row.steps:.1f}",
            f"{row.tflop:.1f}",
            f"{row.ratio:.1f}",
            f"{row.full_tflop:.1f}",
            f"{row.official / row.full_tflop:.1f}",
            f"{row.estimate:.1f}",
        )
    return table


def counts_table(rows: Sequence[WorkRow]) -> Table:
    """How often each piece runs."""
    table = Table(
        f"{_queries(rows)}: times",
        *("way back", "encoded", "prefix", "U-Net", "attention", "back", "fixed steps"),
    )
    for row in rows:
        one = row.counts
        numbers = (one.encoded, one.entered, one.ran, one.attended, one.returned, one.fixed_steps)
        table.add_row(row.preset, "yes" if row.cycle else "no", *(f"{number:.0f}" for number in numbers))
    return table


def speed_table(speeds: Speeds) -> Table:
    """CPU seconds on the tiny network."""
    official = speeds.official_form
    table = Table(
        f"tiny network, {SIZE} px, 4 queries, CPU s",
        *("step of a query", "once a crop", "crops", "step in all", "times faster", "reading", "times faster"),
        *("query, whole run", "times faster"),
    )
    for row in (official, *speeds.presets):
        table.add_row(
            row.form,
            f"{row.step_s:.4f}",
            f"{row.crop_s:.3f}" if row.crop_s else "",
            f"{row.crops}" if row.crop_s else "",
            f"{row.whole_step_s:.4f}",
            f"{official.whole_step_s / row.whole_step_s:.1f}",
            f"{row.read_s:.4f}",
            f"{official.read_s / row.read_s:.1f}",
            f"{row.query_s:.1f}",
            f"{official.query_s / row.query_s:.1f}",
        )
    return table


def gpu_table(rows: Sequence[GpuRow]) -> Table:
    """Steps on a GPU."""
    table = Table("U-Net of the real size", "embeddings", "at once", "s a step", "networks GB", "peak GB")
    for row in rows:
        figures = (f"{row.step_s:.3f}", f"{row.networks_gb:.1f}", f"{row.peak_gb:.1f}")
        table.add_row(row.dtype, str(row.batch), str(row.at_once), *figures)
    return table


def _queries(rows: Sequence[WorkRow]) -> str:
    count = rows[0].queries
    return "one query" if count == 1 else f"{count} queries"
