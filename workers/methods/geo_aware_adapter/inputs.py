"""Annotated pictures as the training takes them."""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Collection, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from workers.backbones.base import Backbone
from workers.backbones.cache import FeatureCache, blocks_cached
from workers.imaging.frames import WorkingFrames
from workers.methods.base import Annotation, InputImage
from workers.methods.features import Heartbeat
from workers.methods.geo_aware.scoring import box_side
from workers.methods.geo_aware_adapter.data import TrainingSet

Blocks = tuple[Tensor, ...]


@dataclass(frozen=True)
class Split:
    """Numbers of the images by what they are for."""

    train: list[int]
    val: list[int]
    test: list[int]


def split_images(images: Sequence[InputImage], *, test_share: float, seed: int) -> Split:
    """Split annotated images: as their annotations say, the others of each category by lot.

    At least two of a category are left to learn from.
    """
    named: dict[str, list[int]] = {"train": [], "val": [], "test": []}
    open_ones: defaultdict[str, list[int]] = defaultdict(list)
    for index, image in enumerate(images):
        if image.annotation is not None and image.annotation.schema is not None:
            if image.annotation.split is not None:
                named[image.annotation.split].append(index)
            else:
                open_ones[image.annotation.category].append(index)
    for category in sorted(open_ones):
        indices = list(open_ones[category])
        random.Random(f"{seed} {category}").shuffle(indices)
        count = max(0, min(round(test_share * len(indices)), len(indices) - 2))
        named["test"] += indices[:count]
        named["train"] += indices[count:]
    return Split(*(sorted(named[name]) for name in ("train", "val", "test")))


def blocks_of(
    backbone: Backbone, pictures: Tensor, cache: FeatureCache | None, pulse: Heartbeat, *, done: int, total: int
) -> Blocks:
    """Blocks of frames (N, 3, S, S), on the CPU; `done` of `total` pictures were described before."""
    described = []
    for index in range(len(pictures)):
        blocks, _ = blocks_cached(backbone, pictures[index : index + 1], cache, tick=pulse.beat)
        described.append([block.cpu() for block in blocks])
        pulse.step(done + index + 1, total)
    return tuple(torch.cat(block) for block in zip(*described, strict=True))


def training_set(
    images: Sequence[InputImage],
    frames: WorkingFrames,
    blocks: Blocks,
    mirrored: Blocks | None,
    *,
    cells: int,
    held_out: Collection[str],
    device: torch.device,
) -> TrainingSet:
    """Join features and keypoints.

    Args:
        images: annotated.
        frames: the same, letterboxed.
        blocks: of the frames.
        mirrored: of the frames turned left to right.
        cells: a side of the grid.
        held_out: names of keypoints that are treated as not visible.
        device: to train on.
    """
    annotations = [image.annotation for image in images if image.annotation is not None]
    count = max(len(annotation.keypoints) for annotation in annotations)
    names = sorted({annotation.category for annotation in annotations})
    scale = cells / frames.size
    points, visible = torch.zeros(len(images), count, 2), torch.zeros(len(images), count, dtype=torch.bool)
    becomes = torch.arange(count).repeat(len(images), 1)
    for row, (annotation, box) in enumerate(zip(annotations, frames.boxes, strict=True)):
        known = len(annotation.keypoints)
        places = box.to_frame(torch.from_numpy(annotation.keypoints[:, :2]).float()) * scale
        points[row, :known] = places
        visible[row, :known] = torch.from_numpy(learned(annotation, held_out))
        if annotation.schema is not None and annotation.schema.permutation is not None:
            becomes[row, :known] = torch.tensor(annotation.schema.permutation)
    sides = [box_side(image) * box.scale * scale for image, box in zip(images, frames.boxes, strict=True)]
    return TrainingSet(
        blocks=blocks,
        mirrored=mirrored,
        cells=cells,
        points=points.clamp(0, cells).to(device),
        visible=visible.to(device),
        sides=torch.tensor(sides, device=device),
        becomes=becomes.to(device),
        categories=torch.tensor([names.index(annotation.category) for annotation in annotations], device=device),
    )


def learned(annotation: Annotation, held_out: Collection[str]) -> npt.NDArray[np.bool_]:
    """Which keypoints (K,) are visible and not held out."""
    names = annotation.schema.names if annotation.schema else []
    open_ones = np.array([name not in held_out for name in names], dtype=np.bool_)
    seen: npt.NDArray[np.bool_] = annotation.keypoints[:, 2] > 0
    return seen & open_ones


def is_held_out(annotation: Annotation, held_out: Collection[str]) -> npt.NDArray[np.bool_]:
    """Which keypoints (K,) are held out."""
    names = annotation.schema.names if annotation.schema else []
    return np.array([name in held_out for name in names], dtype=np.bool_)
