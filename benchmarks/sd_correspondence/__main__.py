"""What correspondence by optimised prompts costs beside the official code, and how near it comes to the truth.

Run `python -m benchmarks.sd_correspondence`. Nothing is read, and no weights are needed. Seconds are CPU seconds of
this process on one thread.

Errors are measured on pictures whose colours tell the truth, read by random features in place of the networks: random
points that lie in both pictures, each preset with its own settings. Operations are counted by torch on the networks of
the real size without data, times how often each runs: steps that end early are counted as on those pictures. Seconds
are measured on a tiny network of the same layers, on synthetic pictures, beside the official form written plainly; a
few steps are run, and a whole run is what they extrapolate to. Where there is a GPU, steps of the real size are
measured on it. The last line is one JSON object.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from dataclasses import asdict
from statistics import mean
from typing import Any

import torch
from rich.console import Console

from api_schemas.methods.sd_correspondence import Preset
from benchmarks.sd_correspondence.bed import PRESETS, BedRow, bed_row, scattered
from benchmarks.sd_correspondence.gpu import GpuRow, gpu_rows
from benchmarks.sd_correspondence.pieces import Pieces, count_pieces
from benchmarks.sd_correspondence.speed import Speeds, speeds
from benchmarks.sd_correspondence.tables import (
    bed_table,
    counts_table,
    gpu_table,
    pieces_table,
    speed_table,
    work_table,
)
from benchmarks.sd_correspondence.work import QUERIES, WorkRow, authors_tflop, work_rows

BED_QUERIES, SEEDS = 10, 2
QUICK_QUERIES, QUICK_SEEDS = 3, 1
STEPS, QUICK_STEPS = 6, 2
CROPS = 5


def main() -> None:
    """Measure everything, print the tables as they come and the figures last."""
    arguments = _arguments()
    torch.set_num_threads(1)
    console = Console(width=170)
    measured = speeds(QUICK_STEPS if arguments.quick else STEPS, CROPS)
    console.print(speed_table(measured))
    points, seeds = scattered(arguments.queries), range(arguments.seeds)
    bed = [bed_row(preset, points, seeds) for preset in PRESETS]
    console.print(bed_table(bed, arguments.seeds))
    pieces = count_pieces()
    console.print(pieces_table(pieces))
    work = work_rows(pieces, {row.preset: row.steps for row in bed})
    for queries in QUERIES:
        rows = [row for row in work if row.queries == queries]
        console.print(work_table(rows, authors_tflop(pieces, queries)))
        console.print(counts_table(rows))
    gpu = list(gpu_rows()) if torch.cuda.is_available() else []
    console.print(gpu_table(gpu) if gpu else "No GPU: steps of the real size are not measured.")
    console.out(json.dumps(summary(bed, pieces, work, measured, gpu)), highlight=False)


def summary(
    bed: Sequence[BedRow],
    pieces: Pieces,
    work: Sequence[WorkRow],
    measured: Speeds,
    gpu: Sequence[GpuRow],
) -> dict[str, Any]:
    """The figures that are compared from one version to the next."""
    plain: dict[Preset, WorkRow] = {row.preset: row for row in work if row.queries == QUERIES[0] and not row.cycle}
    official = measured.official_form
    return {
        "benchmark": "sd_correspondence",
        **{f"flop_ratio_{preset}": round(row.ratio, 2) for preset, row in plain.items()},
        "flop_ratio_fast_to_own_official": round(plain["official"].tflop / plain["fast"].tflop, 2),
        "tflop": {preset: round(row.tflop, 1) for preset, row in plain.items()},
        "gflop_pieces": {name: round(value, 2) for name, value in asdict(pieces).items()},
        "step_speedup": {row.form: round(official.whole_step_s / row.whole_step_s, 2) for row in measured.presets},
        "query_speedup": {row.form: round(official.query_s / row.query_s, 1) for row in measured.presets},
        "loss_difference": measured.difference,
        "bed_error_px": {row.preset: round(mean(row.errors), 2) for row in bed},
        "bed_error_max_px": {row.preset: round(max(row.errors), 2) for row in bed},
        "bed_highest_pixel_px": {row.preset: round(mean(row.peak_errors), 2) for row in bed},
        "bed_centroid_px": {row.preset: round(mean(row.soft_errors), 2) for row in bed},
        "bed_peak": {row.preset: round(mean(row.peaks), 3) for row in bed},
        "bed_steps": {row.preset: round(row.steps, 1) for row in bed},
        "gpu": [asdict(row) for row in gpu],
    }


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Work and accuracy of correspondence by optimised prompts.")
    parser.add_argument("--queries", type=int, help=f"points to be found; {BED_QUERIES} if left out")
    parser.add_argument("--seeds", type=int, help=f"runs on all of them; {SEEDS} if left out")
    parser.add_argument("--quick", action="store_true", help=f"{QUICK_QUERIES} points, one run, few steps")
    arguments = parser.parse_args()
    queries, seeds = (QUICK_QUERIES, QUICK_SEEDS) if arguments.quick else (BED_QUERIES, SEEDS)
    arguments.queries, arguments.seeds = arguments.queries or queries, arguments.seeds or seeds
    for name in ("queries", "seeds"):
        if (given := getattr(arguments, name)) < 1:
            parser.error(f"--{name} is {given}; use at least 1")
    return arguments


if __name__ == "__main__":
    main()
