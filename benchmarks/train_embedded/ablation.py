"""What each part of the recipe brings: small trainings, each without one part.

Run `python -m benchmarks.train_embedded.ablation PICTURES FOLDER [SET ...]`: PICTURES as for training, FOLDER with
photographs as for `--score` there. Prints PCK@0.1 of plain nearest neighbours on everything the network says, set by
set; the last line is one JSON object. Differences as small as that of the second seed mean nothing.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
from collections.abc import Mapping
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from functools import partial
from pathlib import Path
from statistics import fmean

import torch
from rich.console import Console
from rich.table import Table

from benchmarks.train_embedded.pictures import read_pictures
from benchmarks.train_embedded.recipe import Recipe
from benchmarks.train_embedded.scoring import read_keypoint_sets, scores
from benchmarks.train_embedded.training import Training
from workers.backbones.embedded import all_stages
from workers.backbones.embedded_network import Shape

SMALL_SHAPE = Shape(width=16, lateral=64)
SMALL = Recipe(
    steps=600,
    shape=SMALL_SHAPE,
    kinds_per_batch=10,
    sizes_px=((64,),),
    size_shares=(1.0,),
    learning_rate=2e-3,
    average=0.99,
)
CELLS = 32

VARIANTS: dict[str, Recipe] = {
    "all parts": SMALL,
    "all parts, second seed": replace(SMALL, seed=2),
    "without matches across pictures": replace(SMALL, cross_image_weight=0.0),
    "without the window around the same place": replace(SMALL, window=4.0, centre_pull=0.0),
    "without the check of the match back": replace(SMALL, agreement=4.0),
    "without votes of neighbouring cells": replace(SMALL, consensus=False),
    "without related classes": replace(SMALL, related_share=0.0),
    "two pictures of a kind, not three": replace(SMALL, pictures_per_kind=2, kinds_per_batch=13),
    "without classification": replace(SMALL, classification_weight=0.0),
    "without matches within a picture": replace(SMALL, same_image_weight=0.0),
    "without the head for details": replace(SMALL, detail_weight=0.0),
    "without small things on foreign ground": replace(SMALL, clutter_share=0.0),
    "without attention": replace(SMALL, shape=replace(SMALL_SHAPE, attention_blocks=0)),
    "last weights, not their running mean": replace(SMALL, average=0.0),
}


def main() -> None:
    """Train every variant and print how well it matches."""
    arguments = _arguments()
    work = partial(trained_and_scored, arguments.pictures, arguments.data, arguments.sets)
    rows: dict[str, dict[str, float]] = {}
    with ProcessPoolExecutor(arguments.processes, multiprocessing.get_context("spawn")) as pool:
        for name, found in zip(VARIANTS, pool.map(work, VARIANTS.values()), strict=True):
            rows[name] = found
            print(name, found, flush=True)  # noqa: T201
    Console(width=140).print(as_table(rows))
    print(json.dumps({"benchmark": "train_embedded.ablation", "pck": rows}))  # noqa: T201


def trained_and_scored(pictures: Path, data: Path, sets: list[str], recipe: Recipe) -> dict[str, float]:
    """Train by a recipe on one thread; PCK@0.1 by set."""
    torch.set_num_threads(1)
    training = Training(read_pictures(pictures), recipe)
    training.run(lambda _step, _figures: None)
    found = scores(read_keypoint_sets(data, sets), lambda frames: all_stages(training.average, frames, (CELLS, CELLS)))
    return {name: round(score, 3) for name, score in found.items()}


def as_table(rows: Mapping[str, Mapping[str, float]]) -> Table:
    """The scores for people, with their mean."""
    table = Table(title="PCK@0.1 of small networks")
    for column in ("recipe", *next(iter(rows.values()), {}), "mean"):
        table.add_column(column, justify="left" if column == "recipe" else "right")
    for name, row in rows.items():
        table.add_row(name, *(f"{score:.3f}" for score in row.values()), f"{fmean(row.values()):.3f}")
    return table


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="What each part of the recipe brings.")
    parser.add_argument("pictures", type=Path, help="folder or zip archive, one folder of pictures a class")
    parser.add_argument("data", type=Path, help="folder with one folder of photographs a set")
    parser.add_argument("sets", nargs="*", help="sets to score on; all with keypoints and boxes if left out")
    parser.add_argument("--processes", type=int, default=2, help="trainings at a time, each on one thread")
    return parser.parse_args()


if __name__ == "__main__":
    main()
