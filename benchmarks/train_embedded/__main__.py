"""Train the network of the backbone `embedded` on class-labelled pictures.

Run `python -m benchmarks.train_embedded PICTURES --out FOLDER`. PICTURES is a folder or zip archive with one folder of
pictures a class. FOLDER takes a checkpoint, from which the same command goes on, and in the end `embedded.safetensors`,
ready to be put into `workers/backbones`. `--score FOLDER [SET ...]` scores the network now and then on photographs with
keypoints, in the layout of `benchmarks.photographs`; they are never trained on. `--recipe` changes choices, as JSON;
`--until` ends a training before its schedule does.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path

import torch

from benchmarks.train_embedded.export import export
from benchmarks.train_embedded.pictures import read_pictures
from benchmarks.train_embedded.recipe import Recipe
from benchmarks.train_embedded.scoring import KeypointSet, read_keypoint_sets, scores
from benchmarks.train_embedded.training import Training
from workers.backbones.embedded import all_stages

SAVE_STEPS = 500
SCORE_STEPS = 1500
CELLS = 32


def main() -> None:
    """Train, save, score and export."""
    arguments = _arguments()
    torch.set_num_threads(arguments.threads)
    arguments.out.mkdir(parents=True, exist_ok=True)
    checkpoint = arguments.out / "checkpoint.pt"
    pictures = read_pictures(arguments.pictures)
    training = Training(pictures, recipe_from(json.loads(arguments.recipe)))
    sets = read_keypoint_sets(Path(arguments.score[0]), arguments.score[1:]) if arguments.score else []
    _say(pictures=len(pictures.labels), classes=len(pictures.classes))
    if checkpoint.exists():
        training.restore(checkpoint)
        _say(step=training.step, restored=str(checkpoint))
    last = min(training.recipe.steps, arguments.until or training.recipe.steps)
    while training.step < last:
        training.run(_report, until=min(last, training.step + SAVE_STEPS))
        training.save(checkpoint)
        if training.step % SCORE_STEPS == 0:
            _score(training, sets)
    sha256 = export(training.average, pictures, arguments.out / "embedded.safetensors")
    _say(exported=str(arguments.out / "embedded.safetensors"), sha256=sha256)


def recipe_from(changes: Mapping[str, object]) -> Recipe:
    """The recipe with some choices changed.

    Raises:
        ValueError: there is no such choice; lists what there is.
    """
    known = {field.name for field in fields(Recipe)}
    if unknown := changes.keys() - known:
        raise ValueError(f"the recipe has no {', '.join(sorted(unknown))}; it has {', '.join(sorted(known))}")
    return Recipe(**{name: tuple(value) if isinstance(value, list) else value for name, value in changes.items()})


def _report(step: int, figures: Mapping[str, float]) -> None:
    _say(step=step, **{name: round(value, 3) for name, value in figures.items()})


def _score(training: Training, sets: list[KeypointSet]) -> None:
    if sets:
        found = scores(sets, lambda frames: all_stages(training.average, frames, (CELLS, CELLS)))
        _say(step=training.step, **{name: round(score, 3) for name, score in found.items()})


def _say(**facts: object) -> None:
    print(json.dumps(facts), flush=True)  # noqa: T201


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Train the network of the backbone `embedded`.")
    parser.add_argument("pictures", type=Path, help="folder or zip archive, one folder of pictures a class")
    parser.add_argument("--out", type=Path, required=True, help="folder for the checkpoint and the weights")
    parser.add_argument("--recipe", default="{}", help="changes of the recipe, as JSON")
    parser.add_argument("--until", type=int, help="stop after so many steps")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--score", nargs="+", default=[], metavar=("FOLDER", "SET"), help="photographs to score on")
    return parser.parse_args()


if __name__ == "__main__":
    main()
