"""How far from the truth a drawing on the atlas lands on the images, on synthetic sets.

Run `python -m benchmarks.edits`. A disc is painted where the average atlas shows a known point, carried to every image
as an edit is, and the centroid of what arrives is compared with where the point truly is; in pixels of a 256-pixel
image. `--out` keeps a picture of all discs on all images. The last line is one JSON object.
"""

from __future__ import annotations

import argparse
import json
import time
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image
from rich.console import Console
from rich.table import Table

from alignment.atlas import Atlas
from alignment.edits import composite, propagate
from alignment.layers import Layer
from api_schemas.methods.neural_congealing import NeuralCongealingParams
from workers.backbones.registry import BackboneProvider
from workers.evaluation.oracle import OracleBackbone, OracleProvider, known_pictures
from workers.evaluation.synthetic import SyntheticSet, sample_set
from workers.methods.base import InputImage
from workers.methods.neural_congealing.pipeline import NeuralCongealing
from workers.run_context import Run

SIDE_PX = 256
LAYER_PX = 512
RADIUS = 0.03
OPAQUE = 255
COLOURS = ((230, 40, 40), (40, 160, 240), (250, 200, 40), (60, 200, 90), (200, 80, 220))


@dataclass(frozen=True)
class Row:
    """Distances in pixels of a 256-pixel image; `lost` discs did not arrive."""

    features: str
    discs: int
    lost: int
    mean_px: float
    median_px: float
    worst_px: float
    cpu_s: float


def main() -> None:
    """Measure with perfect and with hand-made features."""
    arguments = _arguments()
    torch.set_num_threads(1)
    drawn = sample_set()
    oracle = OracleProvider(OracleBackbone(known_pictures(drawn), size=SIDE_PX))
    rows = [
        measured("oracle", drawn, oracle, arguments.out),
        measured("dense_descriptor", drawn, BackboneProvider(), arguments.out),
    ]
    Console(width=100).print(as_table(rows))
    print(json.dumps({"benchmark": "edits", "rows": [asdict(row) for row in rows]}))  # noqa: T201


def measured(name: str, drawn: SyntheticSet, backbones: BackboneProvider, out: Path | None) -> Row:
    """Align, paint every point, carry it to every image."""
    images = [InputImage(image.name, image.rgb) for image in drawn.images]
    params = NeuralCongealingParams(backbone="dense_descriptor", flips="off")
    form = NeuralCongealing(backbones).run(images, params, Run.local()).form
    if not isinstance(form, Atlas):
        raise TypeError("the method yields an atlas")
    discs = [disc(place, COLOURS[k % len(COLOURS)]) for k, place in enumerate(atlas_places(form, drawn))]
    began = time.process_time()
    errors = np.array(
        [[error_px(form, drawn, layer, k, i) for i in range(len(images))] for k, layer in enumerate(discs)]
    )
    seconds = time.process_time() - began
    if out is not None:
        out.mkdir(parents=True, exist_ok=True)
        Image.fromarray(sheet(form, images, discs)).save(out / f"edits_{name}.png")
    found = errors[np.isfinite(errors)]
    return Row(
        features=name,
        discs=errors.size,
        lost=errors.size - found.size,
        mean_px=round(float(found.mean()), 2),
        median_px=round(float(np.median(found)), 2),
        worst_px=round(float(found.max()), 2),
        cpu_s=round(seconds, 1),
    )


def atlas_places(form: Atlas, drawn: SyntheticSet) -> npt.NDArray[np.float64]:
    """Where the average atlas shows each known point (K, 2): the median over the images."""
    places = [
        form.transfer(image.keypoints.astype(np.float64), source=index, target=None).points
        for index, image in enumerate(drawn.images)
    ]
    middle: npt.NDArray[np.float64] = np.nanmedian(np.stack(places), axis=0)
    return middle


def disc(place: npt.NDArray[np.float64], colour: tuple[int, int, int]) -> Layer:
    """A layer with one disc at an atlas point."""
    centres = (np.arange(LAYER_PX) + 0.5) / LAYER_PX
    inside = (centres[None, :] - place[0]) ** 2 + (centres[:, None] - place[1]) ** 2 < RADIUS**2
    pixels = np.zeros((LAYER_PX, LAYER_PX, 4), dtype=np.uint8)
    pixels[inside] = (*colour, OPAQUE)
    return Layer(pixels)


def error_px(form: Atlas, drawn: SyntheticSet, layer: Layer, point: int, index: int) -> float:
    """Distance between the centroid of the disc on an image and the truth; NaN where nothing arrives."""
    size = form.images[index]
    alpha = propagate(form, layer, source=None, target=index, size=size)[..., 3].astype(np.float64)
    if not alpha.any():
        return float("nan")
    y, x = np.indices(alpha.shape) + 0.5
    centroid = np.array([(x * alpha).sum(), (y * alpha).sum()]) / alpha.sum()
    distance = float(np.linalg.norm(centroid - drawn.images[index].keypoints[point]))
    return distance * SIDE_PX / max(size.width, size.height)


def sheet(form: Atlas, images: list[InputImage], discs: list[Layer]) -> npt.NDArray[np.uint8]:
    """All images with all discs, four a row."""
    painted = []
    for index, image in enumerate(images):
        picture = image.rgb
        for layer in discs:
            carried = propagate(form, layer, source=None, target=index, size=form.images[index])
            picture = composite(picture, carried, "over")
        painted.append(np.asarray(Image.fromarray(picture).resize((SIDE_PX, SIDE_PX))))
    rows = [np.concatenate(painted[start : start + 4], axis=1) for start in range(0, len(painted) // 4 * 4, 4)]
    return np.concatenate(rows, axis=0)


def as_table(rows: list[Row]) -> Table:
    """The rows for people."""
    table = Table(title="Discs painted on the atlas, on twelve drawn fish (pixels of 256)")
    for column in ("features", "discs", "lost", "mean px", "median px", "worst px", "CPU s"):
        table.add_column(column, justify="left" if column == "features" else "right")
    for row in rows:
        table.add_row(row.features, *map(str, list(asdict(row).values())[1:]))
    return table


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Placement error of drawings on the atlas.")
    parser.add_argument("--out", type=Path, help="folder for pictures of the result")
    return parser.parse_args()


if __name__ == "__main__":
    main()
