"""The images of a set as the network sees them, loaded when they are needed."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from workers.backbones.base import Tick
from workers.methods.base import InputImage
from workers.methods.sd_correspondence.crops import Crops, Window, crops_of
from workers.methods.sd_correspondence.optimisation import Draws
from workers.methods.sd_correspondence.options import Options
from workers.methods.sd_correspondence.reader import Reader, generator
from workers.methods.sd_correspondence.scene import FeatureSource, FixedFeatures, LiveFeatures, Scene, drawn_noise
from workers.methods.sd_correspondence.squares import Square, padded, square_picture, stretched
from workers.methods.sd_correspondence.transfer import Target


@dataclass(frozen=True)
class Pictures:
    """All images of a set.

    Random numbers that belong to an image depend on the seed and on its pixels: whatever else is in the set, and
    wherever it stands, it is looked at in the same way.
    """

    images: Sequence[InputImage]
    squares: Sequence[Square]
    reader: Reader
    options: Options
    seed: int
    tick: Tick

    @property
    def crops(self) -> Crops:
        """Of every image."""
        return crops_of(self.options.size, self.options.crop_percent)

    def fingerprint(self, index: int) -> str:
        """What tells an image from others."""
        return self._fingerprints[index]

    @cached_property
    def _fingerprints(self) -> list[str]:
        pixels = [image.rgb for image in self.images]
        return [hashlib.sha256(repr(rgb.shape).encode() + rgb.tobytes()).hexdigest() for rgb in pixels]

    def scene(self, index: int) -> Scene:
        """An image, none of whose crops is encoded yet."""
        picture = square_picture(self.images[index].rgb, self.squares[index])
        return Scene(self.reader, picture, self.crops, tick=self.tick)

    def draws(self, index: int) -> Draws:
        """Crops from which the views of an image's points are drawn."""
        count = self.options.crop_bank
        bank = self.crops.bank(count, generator(self.seed, self.fingerprint(index), "bank")) if count else []
        return Draws(self.crops, bank)

    def features(self, scene: Scene, index: int, timestep: int) -> FeatureSource:
        """What the network attends with in an image, under the noise of a timestep."""
        if not self.options.fixed_features:
            return LiveFeatures(scene, timestep)
        about = (self.seed, self.fingerprint(index), timestep)

        def noise_of(window: Window, shape: tuple[int, ...]) -> Tensor:
            return drawn_noise(self.options.noise, shape, generator(*about, window))

        return FixedFeatures(scene, timestep, self._context(), noise_of)

    def target(self, scene: Scene, index: int, *, corners_only: bool = False) -> Target:
        """An image to be read; in the four corner crops alone, if that is to do."""
        return Target(
            scene=scene,
            features=self.features(scene, index, self.options.read_timestep),
            inside=self.squares[index].inside(),
            seed=(self.seed, self.fingerprint(index)),
            windows=self.windows(index, corners_only=corners_only),
        )

    def windows(self, index: int, *, corners_only: bool) -> list[Window]:
        """Crops in which an image is read by all embeddings; where there are too few, some twice, under other noise."""
        count = len(self.crops.corners()) if corners_only else self.options.read_crops
        bank = self.crops.bank(count, generator(self.seed, self.fingerprint(index), "windows"))
        return [bank[number % len(bank)] for number in range(count)]

    def _context(self) -> Tensor:
        """What fixed features are told (1, 77, D): noise, as an embedding is when it begins; it hardly leaves it."""
        return torch.randn((1, *self.reader.embedding_shape), generator=generator(self.seed, "context"))


def squares_of(images: Sequence[InputImage], *, size: int, pad: bool) -> list[Square]:
    """How each image lies in its square."""
    lay = padded if pad else stretched
    return [lay(image.width, image.height, size) for image in images]
