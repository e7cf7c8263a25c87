"""How fast GeoAware works beside the official form, and how well its adapter tells look-alike parts apart.

Run `python -m benchmarks.geo_aware [FOLDER [SET ...]]`; FOLDER holds one folder of photographs a set, each with
`annotations.json`: `keypoint_names`, `flip_permutation`, `category`, and `images` with `file`, `bbox` and `keypoints`,
integer coordinates being pixel centres. Seconds are CPU seconds of this process on one thread.

A training step and the instance matching distance are computed in both forms on the same random inputs of the official
size. The adapter learns drawn categories whose parts come in look-alike pairs, and each set of photographs by
`--splits` random splits, two thirds to learn from; figures are PCK@0.1 over all ordered pairs of the others. The last
line is one JSON object.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from rich.console import Console

from benchmarks.geo_aware.ambiguous import AmbiguousRow, ambiguous_row
from benchmarks.geo_aware.job import JobCost, job_cost
from benchmarks.geo_aware.real import SETS, FlipRow, TrainedRow, flip_row, trained_rows
from benchmarks.geo_aware.speed import Compared, compare_imd, compare_training_step
from benchmarks.geo_aware.tables import ambiguous_table, cost_table, flip_table, speed_table, trained_table
from workers.backbones.registry import BackboneProvider

SPLITS = 2


def main() -> None:
    """Measure everything, print the tables as they come and the figures last."""
    arguments = _arguments()
    torch.set_num_threads(1)
    console = Console(width=140)
    # First: a process inherits the peak of the one that starts it.
    cost = job_cost()
    console.print(cost_table(cost))
    step, distance = compare_training_step(), compare_imd()
    console.print(speed_table([step, distance]))
    ambiguous = ambiguous_row()
    console.print(ambiguous_table(ambiguous))
    folders, backbones = _folders(arguments), BackboneProvider()
    trained = [row for folder in folders for row in trained_rows(folder, backbones, seeds=arguments.splits, params={})]
    flips = [flip_row(folder, backbones) for folder in folders]
    if folders:
        console.print(trained_table(trained))
        console.print(flip_table(flips))
    console.out(json.dumps(summary(step, distance, ambiguous, trained, flips, cost)), highlight=False)


def summary(
    step: Compared,
    distance: Compared,
    ambiguous: AmbiguousRow,
    trained: Sequence[TrainedRow],
    flips: Sequence[FlipRow],
    cost: JobCost,
) -> dict[str, Any]:
    """The figures that are compared from one version to the next."""
    return {
        "benchmark": "geo_aware",
        "train_speedup": round(step.speedup, 1),
        "imd_speedup": round(distance.speedup, 1),
        "train_gradient_difference": step.difference,
        "imd_difference": distance.difference,
        "geo_pck_raw": round(ambiguous.raw, 4),
        "geo_pck_adapter": round(ambiguous.adapter, 4),
        "geo_training_cpu_s": round(ambiguous.cpu_s, 1),
        "job_cpu_s": cost.cpu_s,
        "job_wall_s": cost.wall_s,
        "job_peak_gb": cost.peak_gb,
        "trained": [asdict(row) for row in trained],
        "plain": [asdict(row) for row in flips],
    }


def _folders(arguments: argparse.Namespace) -> list[Path]:
    return [] if arguments.data is None else [arguments.data / name for name in arguments.sets or SETS]


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Speed and accuracy of GeoAware and its adapter.")
    parser.add_argument("data", type=Path, nargs="?", help="folder with one folder of photographs a set")
    parser.add_argument("sets", nargs="*", help=f"sets to measure; {' '.join(SETS)} if left out")
    parser.add_argument("--splits", type=int, default=SPLITS, help="random splits of each set")
    arguments = parser.parse_args()
    if arguments.splits < 1:
        parser.error(f"--splits is {arguments.splits}; use at least 1")
    missing = [str(folder) for folder in _folders(arguments) if not (folder / "annotations.json").exists()]
    if missing:
        parser.error(f"no annotations.json in {', '.join(missing)}; name sets that are in {arguments.data}")
    return arguments


if __name__ == "__main__":
    main()
