"""How well methods align photographs with known keypoints, beside copying boxes.

Run `python -m benchmarks.photographs FOLDER [SET ...]`. FOLDER holds one folder a set, each with `annotations.json`:
`images`, a list of `file`, `bbox` [x0, y0, x1, y1] and `keypoints` [[x, y, visible], ...], integer coordinates being
pixel centres. PCK@0.1 over all ordered pairs and keypoints; a point is right within 0.1 of the longer side of the
target's box. `--out` keeps the contact sheets. The last line is one JSON object.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from itertools import permutations
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image
from pydantic import JsonValue
from rich.console import Console
from rich.table import Table

from alignment.scores import AnnotatedImage, pck
from api_schemas.methods.registry import method_specs
from workers.backbones.registry import BackboneProvider
from workers.methods.base import InputImage
from workers.methods.export import export
from workers.methods.registry import load_method
from workers.run_context import Run

ALPHA = 0.1
CENTRE = np.array([0.5, 0.5, 0.0])
METHODS = ("nearest_neighbors", "neural_congealing", "asic")


@dataclass(frozen=True)
class PhotographSet:
    """Photographs, their keypoints (K, 3) and boxes (4,) in pixels."""

    name: str
    images: list[InputImage]
    keypoints: list[npt.NDArray[np.float64]]
    boxes: list[npt.NDArray[np.float64]]


@dataclass(frozen=True)
class Row:
    """One set; PCK@0.1 in [0, 1] by method, and CPU seconds by method."""

    photographs: str
    images: int
    box_copy: float
    pck: dict[str, float]
    cpu_s: dict[str, float]


def main() -> None:
    """Run the methods on the sets and print the table."""
    arguments = _arguments()
    torch.set_num_threads(1)
    folders = [arguments.data / name for name in arguments.sets] or sorted(
        path.parent for path in arguments.data.glob("*/annotations.json")
    )
    rows = []
    for folder in folders:
        photographs = load(folder)
        if photographs is not None:
            rows.append(measured(photographs, json.loads(arguments.params), arguments.out))
    Console(width=110).print(as_table(rows))
    print(json.dumps({"benchmark": "photographs", "rows": [asdict(row) for row in rows]}))  # noqa: T201


def load(folder: Path) -> PhotographSet | None:
    """Read a set; None where it has no keypoints or no boxes."""
    entries = json.loads((folder / "annotations.json").read_text(encoding="utf-8"))["images"]
    if not all(entry.get("keypoints") and entry.get("bbox") for entry in entries):
        return None
    images, keypoints = [], []
    for entry in entries:
        with Image.open(folder / entry["file"]) as picture:
            images.append(InputImage(Path(entry["file"]).name, np.array(picture.convert("RGB"))))
        keypoints.append(np.array(entry["keypoints"], dtype=np.float64) + CENTRE)
    return PhotographSet(folder.name, images, keypoints, [np.array(entry["bbox"], float) for entry in entries])


def measured(photographs: PhotographSet, params: dict[str, JsonValue], out: Path | None) -> Row:
    """Run every method on a set."""
    scores, seconds = {}, {}
    annotated = {
        index: AnnotatedImage(keypoints, float(max(box[2] - box[0], box[3] - box[1])))
        for index, (keypoints, box) in enumerate(zip(photographs.keypoints, photographs.boxes, strict=True))
    }
    for name in METHODS:
        spec = method_specs()[name]
        own = {key: value for key, value in params.items() if key in spec.params.model_fields}
        began = time.process_time()
        method = load_method(spec)(BackboneProvider())
        result = method.run(photographs.images, spec.params.model_validate(own), Run.local())
        seconds[name] = round(time.process_time() - began, 1)
        scores[name] = round(pck(result.form, annotated, [ALPHA]).scores[0].per_point, 3)
        if out is not None:
            export(result, photographs.images, out / photographs.name / name)
    return Row(photographs.name, len(photographs.images), round(box_copy(photographs), 3), scores, seconds)


def box_copy(photographs: PhotographSet) -> float:
    """PCK@0.1 of copying every point to the same place of the target's box."""
    errors = []
    for source, target in permutations(range(len(photographs.images)), 2):
        given, wanted = photographs.keypoints[source], photographs.keypoints[target]
        both = (given[:, 2] > 0) & (wanted[:, 2] > 0)
        old, new = photographs.boxes[source], photographs.boxes[target]
        copied = (given[both, :2] - old[:2]) / (old[2:] - old[:2]) * (new[2:] - new[:2]) + new[:2]
        errors.append(np.linalg.norm(copied - wanted[both, :2], axis=1) / (new[2:] - new[:2]).max())
    return float((np.concatenate(errors) <= ALPHA).mean())


def as_table(rows: Sequence[Row]) -> Table:
    """The rows for people."""
    table = Table(title=f"PCK@{ALPHA} on photographs (CPU seconds)")
    for column in ("set", "images", "box copy", *METHODS):
        table.add_column(column, justify="left" if column == "set" else "right")
    for row in rows:
        figures = [f"{row.pck[name]:.3f} ({row.cpu_s[name]:.0f} s)" for name in METHODS]
        table.add_row(row.photographs, str(row.images), f"{row.box_copy:.3f}", *figures)
    return table


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="PCK@0.1 of methods on photographs with keypoints.")
    parser.add_argument("data", type=Path, help="folder with one folder a set")
    parser.add_argument("sets", nargs="*", help="sets to measure; all with keypoints and boxes if left out")
    parser.add_argument("--params", default="{}", help="parameters of the methods, as JSON")
    parser.add_argument("--out", type=Path, help="folder for the results, contact sheets among them")
    return parser.parse_args()


if __name__ == "__main__":
    main()
