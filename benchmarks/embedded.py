"""The built-in backbone on photographs with keypoints, and what it costs.

Run `python -m benchmarks.embedded FOLDER [SET ...]`; FOLDER is as for `benchmarks.photographs`. PCK@0.1 over all
ordered pairs: of copying the place, of plain nearest neighbours in frames of 256 pixels (no crop, no mask, the whole
target is searched) by hand-made and by built-in features, and of neural congealing with default parameters. Seconds
are CPU seconds on one thread, medians; ViT-S/14 has random weights. The last line is one JSON object.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from pathlib import Path

import timm
import torch
from rich.console import Console
from rich.table import Table

from alignment.scores import AnnotatedImage, pck
from api_schemas.backbones import FeatureOptions
from api_schemas.methods.neural_congealing import NeuralCongealingParams
from benchmarks.photographs import PhotographSet, load
from benchmarks.train_embedded.scoring import ALPHA, KeypointSet, identity_pck, nearest_neighbour_pck
from workers.backbones.base import Backbone, Compute
from workers.backbones.registry import BackboneProvider
from workers.backbones.vit.backbone import VitBackbone
from workers.backbones.vit.network import VitNetwork
from workers.methods.neural_congealing.pipeline import NeuralCongealing
from workers.run_context import Run

FEATURES = ("dense_descriptor", "embedded")
SIDE_PX = 256
REPEATS = 15
VIT_SIDE_PX = 252
"""A multiple of its patch."""


def main() -> None:
    """Score the sets, time the networks and print both."""
    arguments = _arguments()
    torch.set_num_threads(1)
    folders = [arguments.data / name for name in arguments.sets] or sorted(
        path.parent for path in arguments.data.glob("*/annotations.json")
    )
    loaded = [photographs for folder in folders if (photographs := load(folder)) is not None]
    rows = {photographs.name: scored(photographs, congeal=not arguments.features_only) for photographs in loaded}
    milliseconds = {"embedded": _embedded_ms(), "dinov2_vits14": _vit_ms()}
    Console(width=110).print(as_table(rows))
    print(f"one image of {SIDE_PX} px on one thread: " + ", ".join(f"{k} {v:.0f} ms" for k, v in milliseconds.items()))  # noqa: T201
    print(json.dumps({"benchmark": "embedded", "pck": rows, "ms": milliseconds}))  # noqa: T201


def scored(photographs: PhotographSet, *, congeal: bool) -> dict[str, float]:
    """PCK@0.1 of a set by way of matching."""
    keypoints, provider = KeypointSet(photographs), BackboneProvider()
    scores = {"identity": identity_pck(keypoints)}
    for name in FEATURES:
        scores[name] = nearest_neighbour_pck(keypoints, provider.get(name).extract(keypoints.frames))
    if congeal:
        params = NeuralCongealingParams(backbone="embedded")
        form = NeuralCongealing(provider).run(photographs.images, params, Run.local()).form
        annotated = {
            index: AnnotatedImage(points, float(max(box[2] - box[0], box[3] - box[1])))
            for index, (points, box) in enumerate(zip(photographs.keypoints, photographs.boxes, strict=True))
        }
        scores["neural_congealing"] = pck(form, annotated, [ALPHA]).scores[0].per_point
    return {name: round(score, 3) for name, score in scores.items()}


def as_table(rows: dict[str, dict[str, float]]) -> Table:
    """The scores for people."""
    table = Table(title=f"PCK@{ALPHA} on photographs")
    columns = list(next(iter(rows.values()), {}))
    for column in ("set", *columns):
        table.add_column(column, justify="left" if column == "set" else "right")
    for name, row in rows.items():
        table.add_row(name, *(f"{row[column]:.3f}" for column in columns))
    return table


def _embedded_ms() -> float:
    return _median_ms(BackboneProvider().get("embedded"), SIDE_PX)


def _vit_ms() -> float:
    model = timm.create_model("vit_small_patch14_dinov2", pretrained=False, num_classes=0, dynamic_img_size=True)
    network = VitNetwork(model.eval().requires_grad_(False), digest="random")
    options = FeatureOptions(layer=11, facet="token", stride=14, log_bins=False)
    return _median_ms(VitBackbone(network, name="dinov2_vits14", options=options, compute=Compute()), VIT_SIDE_PX)


def _median_ms(backbone: Backbone, side_px: int) -> float:
    picture = torch.rand(1, 3, side_px, side_px)
    backbone.extract(picture)
    seconds = []
    for _ in range(REPEATS):
        began = time.process_time()
        backbone.extract(picture)
        seconds.append(time.process_time() - began)
    return round(1000 * statistics.median(seconds), 1)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="The built-in backbone on photographs with keypoints.")
    parser.add_argument("data", type=Path, help="folder with one folder a set")
    parser.add_argument("sets", nargs="*", help="sets to measure; all with keypoints and boxes if left out")
    parser.add_argument("--features-only", action="store_true", help="leave out neural congealing")
    return parser.parse_args()


if __name__ == "__main__":
    main()
