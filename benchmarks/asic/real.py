"""ASIC on photographs with known keypoints, beside nearest neighbours and copied boxes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt

from alignment.forms import Form
from alignment.sampling import ImageSize
from alignment.scores import AnnotatedImage
from benchmarks.asic.jobs import describe_beforehand, run_method
from benchmarks.asic.scoring import Consistency, consistency, copied_boxes
from benchmarks.photographs import PhotographSet, load
from workers.backbones.registry import BackboneProvider
from workers.methods.base import InputImage
from workers.methods.export import export

METHODS = ("asic", "nearest_neighbors")
SETS = ("car_views", "willow_car", "willow_motorbike", "dog", "fly_wing")
CYCLE = 3
BOXED = "boxes as masks"


@dataclass(frozen=True)
class PhotographRow:
    """One set; scores by the maps' name, where `BOXED` maps had each image's box as its mask."""

    photographs: str
    images: int
    scores: dict[str, Consistency]
    asic_cpu_s: float
    """Without features and without masks."""
    features_cpu_s: float


def photograph_rows(
    folders: Sequence[Path], backbones: BackboneProvider, *, masks: bool, out: Path | None
) -> list[PhotographRow]:
    """Measure the sets that have keypoints and boxes."""
    loaded = [photographs for folder in folders if (photographs := load(folder)) is not None]
    return [measured(photographs, backbones, masks=masks, out=out) for photographs in loaded]


def measured(
    photographs: PhotographSet, backbones: BackboneProvider, *, masks: bool, out: Path | None = None
) -> PhotographRow:
    """Run the methods on a set."""
    variants = {"": photographs.images}
    if masks:
        variants[f", {BOXED}"] = masked(photographs)
    described_s = describe_beforehand(photographs.images, backbones)
    sizes = [ImageSize(image.width, image.height) for image in photographs.images]
    forms: dict[str, Form] = {"copied box": copied_boxes(sizes, photographs.boxes)}
    seconds = {}
    for name in METHODS:
        for suffix, images in variants.items():
            found = run_method(name, images, backbones)
            forms[name + suffix], seconds[name + suffix] = found.result.form, found.cpu_s
            if out is not None:
                export(found.result, images, out / photographs.name / (name + suffix).replace(", ", "_"))
    annotated = annotated_photographs(photographs)
    return PhotographRow(
        photographs=photographs.name,
        images=len(sizes),
        scores={name: consistency(form, annotated, [CYCLE]) for name, form in forms.items()},
        asic_cpu_s=round(seconds["asic"], 1),
        features_cpu_s=round(described_s, 1),
    )


def annotated_photographs(photographs: PhotographSet) -> dict[int, AnnotatedImage]:
    """The set's keypoints; thresholds are shares of the box's longer side."""
    return {
        index: AnnotatedImage(points, float((box[2:] - box[:2]).max()))
        for index, (points, box) in enumerate(zip(photographs.keypoints, photographs.boxes, strict=True))
    }


def masked(photographs: PhotographSet) -> list[InputImage]:
    """The images, each with the pixels of its box as mask."""
    return [
        replace(image, mask=box_mask(image, box))
        for image, box in zip(photographs.images, photographs.boxes, strict=True)
    ]


def box_mask(image: InputImage, box: npt.NDArray[np.float64]) -> npt.NDArray[np.uint8]:
    """255 at pixels (H, W) that a box (x0, y0, x1, y1) touches, else 0."""
    mask = np.zeros((image.height, image.width), dtype=np.uint8)
    left, top = np.floor(box[:2]).clip(0).astype(int)
    right, bottom = np.ceil(box[2:]).astype(int)
    mask[top:bottom, left:right] = 255
    return mask
