"""How well and how fast ASIC aligns, beside its official settings, nearest neighbours, and maps that only copy.

Run `python -m benchmarks.asic [FOLDER [SET ...]]`; FOLDER holds photographs as for `benchmarks.photographs`. Seconds
are CPU seconds of this process on one thread.

S8 is a set by formulas whose matches are given, a share of them replaced by random ones; our default is fitted to them,
and the official training runs for `--iterations` of the 400 at which the official code was measured: it costs minutes,
and what is not run is extrapolated and says so. Points of S8 go to whole pixels. On drawn pictures and photographs all
methods run with default parameters and the best backbone at hand. Cycles are always shown beside pairs and beside maps
that copy the place or the box: those close every cycle and align nothing. `--masks` also gives each photograph's box as
its mask; `--out` keeps the results. The last line is one JSON object.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from rich.console import Console

from benchmarks.asic.analytic import S8Row, spline_rows
from benchmarks.asic.cost import JobCost, cached_provider, job_cost
from benchmarks.asic.official import PUBLISHED, OfficialRun, official_run
from benchmarks.asic.real import SETS, PhotographRow, photograph_rows
from benchmarks.asic.synthetic import SyntheticRow, synthetic_rows
from benchmarks.asic.tables import cost_table, photograph_table, s8_table, synthetic_table

ITERATIONS = 20


def main() -> None:
    """Measure everything, print the tables as they come and the figures last."""
    arguments = _arguments()
    torch.set_num_threads(1)
    console = Console(width=140)
    splines, run = spline_rows(), official_run(arguments.iterations)
    console.print(s8_table(splines, run, PUBLISHED))
    with tempfile.TemporaryDirectory() as folder:
        backbones = cached_provider(Path(folder))
        synthetic = synthetic_rows(backbones)
        console.print(synthetic_table(synthetic))
        photographs = photograph_rows(_folders(arguments), backbones, masks=arguments.masks, out=arguments.out)
    if photographs:
        console.print(photograph_table(photographs))
    cost = job_cost()
    console.print(cost_table(cost))
    console.out(json.dumps(summary(splines, run, synthetic, photographs, cost)), highlight=False)


def summary(
    splines: Sequence[S8Row],
    run: OfficialRun,
    synthetic: Sequence[SyntheticRow],
    photographs: Sequence[PhotographRow],
    cost: JobCost,
) -> dict[str, Any]:
    """The figures that are compared from one version to the next; scores in percent."""
    least, most = splines[0], splines[-1]
    return {
        "benchmark": "asic",
        "s8": least.pairs,
        "s8_outliers": most.pairs,
        "cpu_s": least.cpu_s,
        "cpu_s_official": run.full_cpu_s,
        "cpu_s_official_is_extrapolated": not run.measured,
        "official_iterations": run.iterations,
        "kept_minus_inliers": round(max(abs((row.kept or 0) - (row.inliers or 0)) for row in splines), 1),
        "job_s": cost.cpu_s,
        "job_wall_s": cost.wall_s,
        "job_peak_gb": cost.peak_gb,
        "four_cycle_minus_pck": {
            row.pictures: round(row.consistency.returned[4] - row.consistency.pairs, 1)
            for row in synthetic
            if row.maps == "asic"
        },
        "s8_rows": [asdict(row) for row in (*splines, run.row)],
        "synthetic": [asdict(row) for row in synthetic],
        "photographs": [asdict(row) for row in photographs],
    }


def _folders(arguments: argparse.Namespace) -> list[Path]:
    return [] if arguments.data is None else [arguments.data / name for name in arguments.sets or SETS]


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Quality, consistency and cost of ASIC.")
    parser.add_argument("data", type=Path, nargs="?", help="folder with one folder of photographs a set")
    parser.add_argument("sets", nargs="*", help=f"sets to measure; {' '.join(SETS)} if left out")
    parser.add_argument("--iterations", type=int, default=ITERATIONS, help="of the official training on S8")
    parser.add_argument("--masks", action="store_true", help="also give each photograph's box as its mask")
    parser.add_argument("--out", type=Path, help="folder for the photographs' results, contact sheets among them")
    arguments = parser.parse_args()
    if arguments.iterations < 1:
        parser.error(f"--iterations is {arguments.iterations}; use at least 1")
    missing = [str(folder) for folder in _folders(arguments) if not (folder / "annotations.json").exists()]
    if missing:
        parser.error(f"no annotations.json in {', '.join(missing)}; name sets that are in {arguments.data}")
    return arguments


if __name__ == "__main__":
    main()
