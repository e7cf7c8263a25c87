"""An oracle: a backbone that knows which place of the object every pixel of a synthetic picture shows.

Methods that match with its features are tested on matching and geometry alone; what they get wrong is their own.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn.functional import max_pool2d

from api_schemas.backbones import FeatureOptions
from workers.backbones.base import Backbone, Tick, check_images, no_tick
from workers.backbones.registry import DEFAULT_OPTIONS, BackboneProvider
from workers.evaluation.synthetic import SyntheticSet
from workers.evaluation.template_set import TemplateSet
from workers.geometry.coordinates import identity_grid
from workers.geometry.letterbox import Letterbox
from workers.imaging.frames import frame_to_upload, letterboxed

Float64 = npt.NDArray[np.float64]

_LENGTH = 0.1
_PROBES = 4
_MARGIN_CELLS = 1


@dataclass(frozen=True)
class KnownPicture:
    """A picture with its truth.

    Attributes:
        rgb: (H, W, 3) uint8.
        mask: (H, W) bool, the object.
        to_canonical: continuous pixels (..., 2) to canonical points (..., 2) in about [0, 1], also near the object.
    """

    rgb: npt.NDArray[np.uint8]
    mask: npt.NDArray[np.bool_]
    to_canonical: Callable[[Float64], Float64]


def known_pictures(drawn: SyntheticSet | TemplateSet) -> list[KnownPicture]:
    """All pictures of a synthetic set, with its truth."""
    if isinstance(drawn, SyntheticSet):
        return [
            KnownPicture(image.rgb, image.mask, partial(drawn.to_canonical, index))
            for index, image in enumerate(drawn.images)
        ]
    return [
        KnownPicture(
            (drawn.images[index].transpose(1, 2, 0) * 255).round().astype(np.uint8),
            drawn.image_masks[index, 0] > 0,
            partial(_unit_template, drawn, index),
        )
        for index in range(len(drawn.images))
    ]


class OracleBackbone(Backbone):
    """Describes known pictures, in frames of one size, by random Fourier features of their canonical coordinates.

    Two places d apart on the object have cosine exp(-d^2 / (2 l^2)) with l = 0.1, up to the features' number (Rahimi
    and Recht, "Random features for large-scale kernel machines", 2007). The object reaches one cell beyond its border,
    so that what is read between cells there is right; the background is 0.
    """

    def __init__(
        self,
        pictures: Sequence[KnownPicture],
        *,
        size: int,
        stride: int = 4,
        dim: int = 256,
        noise: float = 0.0,
        seed: int = 0,
    ) -> None:
        """Learn the pictures by heart.

        Args:
            pictures: what it shall recognise, by the content of their frames.
            size: side of the square frames in pixels, as methods letterbox them.
            stride: side of a feature cell in pixels.
            dim: channels, even.
            noise: length of the Gaussian noise that is added to every feature, whose own length is 1.
            seed: of frequencies and noise.
        """
        self.name, self.options, self.stride, self.dim = "oracle", FeatureOptions(), stride, dim
        self.identity = f"oracle size={size} stride={stride} dim={dim} noise={noise} seed={seed}"
        self._noise, self._seed = noise, seed
        generator = torch.Generator().manual_seed(seed)
        self._frequencies = torch.randn(2, dim // 2, generator=generator, dtype=torch.float64) / _LENGTH
        frames = letterboxed([picture.rgb for picture in pictures], size, "cpu")
        self._known = {
            _digest(frame): (index, picture, box)
            for index, (frame, picture, box) in enumerate(zip(frames.pictures, pictures, frames.boxes, strict=True))
        }

    def extract(self, images: Tensor, *, tick: Tick = no_tick) -> Tensor:
        """Describe known frames; see `Backbone.extract`.

        Raises:
            ValueError: it has not learned one of the frames, or they are no images.
        """
        check_images(images)
        described = []
        for number, image in enumerate(images):
            if (digest := _digest(image)) not in self._known:
                raise ValueError(
                    f"the oracle does not know image {number}; it must be a frame of its pictures, unchanged"
                )
            described.append(self._describe(*self._known[digest]))
            tick()
        return torch.stack(described).to(images.device)

    def _describe(self, index: int, picture: KnownPicture, box: Letterbox) -> Tensor:
        cells = round(box.size / self.stride)
        places = frame_to_upload(identity_grid(cells, cells), box).double().numpy()
        phase = torch.from_numpy(picture.to_canonical(places)) @ self._frequencies
        waves = torch.cat([phase.cos(), phase.sin()], dim=2).permute(2, 0, 1) / math.sqrt(self.dim / 2)
        features = waves.float() * _object_cells(picture.mask, box, cells)
        generator = torch.Generator().manual_seed(self._seed * 1000 + index)
        return features + self._noise / math.sqrt(self.dim) * torch.randn(features.shape, generator=generator)


class OracleProvider(BackboneProvider):
    """Gives an oracle, whichever backbone is asked for."""

    def __init__(self, oracle: OracleBackbone) -> None:
        """Give `oracle`."""
        super().__init__()
        self._oracle = oracle

    def get(self, choice: str, options: FeatureOptions = DEFAULT_OPTIONS) -> Backbone:  # noqa: ARG002
        """Return the oracle."""
        return self._oracle


def _object_cells(mask: npt.NDArray[np.bool_], box: Letterbox, cells: int) -> Tensor:
    """1 in cells (1, cells, cells) of the frame that the object touches or nearly touches, else 0."""
    probes = frame_to_upload(identity_grid(cells * _PROBES, cells * _PROBES), box).floor().long().numpy()
    column, row = probes[..., 0].clip(0, box.width - 1), probes[..., 1].clip(0, box.height - 1)
    inside = ((probes >= 0) & (probes < (box.width, box.height))).all(axis=-1)
    touched = torch.from_numpy((mask[row, column] & inside).astype(np.float32)).unsqueeze(0)
    grown: Tensor = max_pool2d(max_pool2d(touched, _PROBES), 2 * _MARGIN_CELLS + 1, 1, _MARGIN_CELLS)
    return grown


def _unit_template(drawn: TemplateSet, index: int, points: Float64) -> Float64:
    unit: Float64 = (drawn.to_template(index, points) + 1) / 2
    return unit


def _digest(frame: Tensor) -> str:
    return hashlib.sha256(frame.detach().cpu().float().contiguous().numpy().tobytes()).hexdigest()
