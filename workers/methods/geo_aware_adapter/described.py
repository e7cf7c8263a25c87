"""The images of a training, described once: for learning, and for looking at what was learned."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import normalize

from workers.backbones.base import Backbone
from workers.backbones.cache import FeatureCache
from workers.imaging.frames import WorkingFrames, letterboxed
from workers.methods.base import InputImage
from workers.methods.features import Heartbeat
from workers.methods.geo_aware.describing import Describer
from workers.methods.geo_aware.inputs import Looks
from workers.methods.geo_aware.variants import VARIANTS
from workers.methods.geo_aware_adapter.data import TrainingSet
from workers.methods.geo_aware_adapter.inputs import Blocks, blocks_of, training_set

_MOSTLY = 0.5


@dataclass(frozen=True)
class DescribedImages:
    """N letterboxed images.

    Attributes:
        images: with their annotations.
        frames: letterboxed.
        backbone: what describes them.
        cells: a side of the grid.
        blocks: of all frames, on the CPU.
        chosen: numbers of the images to learn from.
        mirrored: blocks of those, turned left to right; None where none are learned from.
    """

    images: Sequence[InputImage]
    frames: WorkingFrames
    backbone: Backbone
    cells: int
    blocks: Blocks
    chosen: list[int]
    mirrored: Blocks | None

    def training_set(self, *, held_out: Sequence[str]) -> TrainingSet:
        """What there is to learn from."""
        blocks = tuple(block[self.chosen] for block in self.blocks)
        return training_set(
            [self.images[index] for index in self.chosen],
            self.frames.of(self.chosen),
            blocks,
            self.mirrored,
            cells=self.cells,
            held_out=held_out,
            device=self.frames.pictures.device,
        )

    def plain(self, pulse: Heartbeat) -> Looks:
        """What the backbone alone says of all images."""
        parts = []
        for blocks in self._one_by_one():
            parts.append(normalize(self.backbone.joined(blocks, (self.cells, self.cells)), dim=1))
            pulse.beat()
        return self._looks(parts)

    def adapted(self, describer: Describer, pulse: Heartbeat) -> Looks:
        """What a describer with an adapter says of all images."""
        parts = []
        for blocks in self._one_by_one():
            parts.append(describer.adapted(blocks))
            pulse.beat()
        return self._looks(parts)

    def _one_by_one(self) -> list[Blocks]:
        device = self.frames.pictures.device
        return [
            tuple(block[index : index + 1].to(device) for block in self.blocks) for index in range(len(self.images))
        ]

    def _looks(self, features: list[Tensor]) -> Looks:
        whole = self.frames.valid(self.cells)[:, 0] > _MOSTLY
        return Looks(self.frames, (VARIANTS["id"],), (torch.cat(features),), (whole,))


def describe_images(
    images: Sequence[InputImage],
    chosen: list[int],
    backbone: Backbone,
    *,
    cells: int,
    mirrors: bool,
    cache: FeatureCache | None,
    device: torch.device,
    pulse: Heartbeat,
) -> DescribedImages:
    """Describe images, and those to learn from also mirrored: from the mirrored pictures."""
    frames = letterboxed([image.rgb for image in images], cells * backbone.stride, device)
    total = len(images) + len(chosen) * mirrors
    blocks = blocks_of(backbone, frames.pictures, cache, pulse, done=0, total=total)
    mirrored = None
    if mirrors and chosen:
        turned = frames.pictures[chosen].flip(-1)
        mirrored = blocks_of(backbone, turned, cache, pulse, done=len(images), total=total)
    return DescribedImages(images, frames, backbone, cells, blocks, chosen, mirrored)
