"""How well ways around end where they began on drawn pictures, beside how well points arrive at all."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from alignment.sampling import ImageSize
from alignment.scores import AnnotatedImage
from benchmarks.asic.analytic import annotated_set
from benchmarks.asic.jobs import KnownSet, run_method
from benchmarks.asic.scoring import Consistency, consistency, copied_places
from workers.backbones.registry import BackboneProvider
from workers.evaluation.analytic_set import analytic_set
from workers.evaluation.synthetic import sample_set
from workers.evaluation.template_set import template_set
from workers.methods.base import InputImage

METHODS = ("asic", "nearest_neighbors")
SIDE_PX = 256


@dataclass(frozen=True)
class SyntheticRow:
    """One way of carrying points over one set."""

    pictures: str
    images: int
    maps: str
    consistency: Consistency


def synthetic_rows(backbones: BackboneProvider) -> list[SyntheticRow]:
    """Both methods with default parameters, and the copied place, on all sets."""
    return [row for known in (reef_fish(), beetle(), s8_pictures()) for row in set_rows(known, backbones)]


def set_rows(known: KnownSet, backbones: BackboneProvider) -> list[SyntheticRow]:
    """The same on one set."""
    forms = {name: run_method(name, known.images, backbones).result.form for name in METHODS}
    forms["copied place"] = copied_places([ImageSize(image.width, image.height) for image in known.images])
    return [
        SyntheticRow(known.name, len(known.images), name, consistency(form, known.annotated))
        for name, form in forms.items()
    ]


def reef_fish(count: int = 12) -> KnownSet:
    """The pictures of the demonstration; thresholds are shares of the object's box."""
    drawn, annotated = sample_set(count=count), {}
    for index, image in enumerate(drawn.images):
        points = np.column_stack([image.keypoints, image.visible]).astype(np.float64)
        assert image.bbox is not None
        left, top, right, bottom = image.bbox
        annotated[index] = AnnotatedImage(points, max(right - left, bottom - top))
    return KnownSet("reef fish", [InputImage(image.name, image.rgb) for image in drawn.images], annotated)


def beetle() -> KnownSet:
    """The ten pictures of a beetle; thresholds are shares of the object's box."""
    drawn, images, annotated = template_set("beetle"), [], {}
    for index, picture in enumerate(drawn.images):
        images.append(InputImage(f"{index:02d}_beetle", (picture.transpose(1, 2, 0) * 255).round().astype(np.uint8)))
        points = np.column_stack([drawn.keypoints[index], drawn.visible[index]]).astype(np.float64)
        extents = [np.ptp(axis) + 1 for axis in np.nonzero(drawn.image_masks[index, 0])]
        annotated[index] = AnnotatedImage(points, float(max(extents)))
    return KnownSet("beetle", images, annotated)


def s8_pictures() -> KnownSet:
    """S8 as pictures alone; thresholds are shares of the picture's side."""
    drawn = analytic_set(SIDE_PX)
    pictures = ((drawn.pictures.clip(-1, 1) + 1) * 127.5).round().astype(np.uint8)
    images = [InputImage(f"{index:02d}_s8", picture) for index, picture in enumerate(pictures)]
    return KnownSet("S8, pictures alone", images, annotated_set(drawn))
