"""What a backbone is: images in, feature maps out."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor
from torch.nn.functional import interpolate

from api_schemas.backbones import FeatureOptions

RGB_CHANNELS = 3
MIN_SIDE = 32
MAX_ASPECT = 16

Tick = Callable[[], None]
"""Called a few times a second during long computations; may raise, to stop them."""


def no_tick() -> None:
    """Do nothing."""


@dataclass(frozen=True)
class Compute:
    """Where and how networks are run."""

    device: torch.device = field(default_factory=lambda: torch.device("cpu"))
    dtype: torch.dtype = torch.float32
    """Of weights and activations; features are float32 whatever it is."""
    batch_pixels: int = 1024 * 1024
    """Pixels of one pass; at least one image. Bounds the memory that a batch takes."""

    def batches(self, images: Tensor) -> Iterator[Tensor]:
        """Cut images (N, 3, H, W) into batches of at most `batch_pixels`."""
        height, width = images.shape[-2:]
        yield from torch.split(images, max(1, self.batch_pixels // (height * width)))


class Backbone(ABC):
    """Describes every place of an image by a vector; similar places get similar vectors.

    Attributes:
        name: as users type it, one of `api_schemas.backbones.BACKBONE_NAMES`.
        options: what of the network describes a place, complete.
        stride: side of a feature cell in pixels of the given image.
        dim: channels C of the features.
        identity: tells apart any two backbones that may describe the same image differently: name, options, weights,
            precision. A key of caches.
    """

    name: str
    options: FeatureOptions
    stride: int
    dim: int
    identity: str

    @property
    def block_channels(self) -> tuple[int, ...]:
        """Channels of each of the `blocks`."""
        return (self.dim,)

    def blocks(self, images: Tensor, *, tick: Tick = no_tick) -> tuple[Tensor, ...]:
        """Describe images by the raw parts that features are made of, as trained adapters take them.

        Args:
            images: as for `extract`.
            tick: called during the work.

        Returns:
            Per part (N, C, h, w) float32, each on its own grid of cells that cover the whole image. A backbone of one
            part gives what `extract` gives.
        """
        return (self.extract(images, tick=tick),)

    def joined(self, blocks: Sequence[Tensor], cells: tuple[int, int]) -> Tensor:
        """Make of `blocks` what `extract` gives, on another grid of (rows, columns).

        Args:
            blocks: one per part, as `blocks` gives them.
            cells: rows and columns.

        Returns:
            (N, C, rows, columns), to bilinear interpolation.
        """
        return torch.cat([spread(block, cells) for block in blocks], dim=1)

    @abstractmethod
    def extract(self, images: Tensor, *, tick: Tick = no_tick) -> Tensor:
        """Describe images.

        Args:
            images: (N, 3, H, W) RGB in [0, 1], on the backbone's device; sides of at least 32 pixels, the longer one
                at most 16 times the shorter.
            tick: called during the work.

        Returns:
            (N, C, h, w) float32, not normalised unless the class says so; the h x w cells have equal size and cover
            the whole image, h = round(H / stride), w = round(W / stride). Every image is described by itself: batches
            do not change the result's meaning.

        Raises:
            ValueError: the images cannot be described; says why.
        """


def check_images(images: Tensor) -> None:
    """Refuse what `Backbone.extract` cannot describe.

    Raises:
        ValueError: not a batch of RGB images, not floating point, too small, or too long and thin.
    """
    if images.ndim != 4 or images.shape[1] != RGB_CHANNELS or not torch.is_floating_point(images):
        raise ValueError(
            f"images have shape {tuple(images.shape)} and type {images.dtype}; give (N, 3, H, W) floats in [0, 1]"
        )
    height, width = images.shape[-2:]
    if min(height, width) < MIN_SIDE:
        raise ValueError(f"images are {width} x {height} pixels; give at least {MIN_SIDE} x {MIN_SIDE}")
    if max(height, width) > MAX_ASPECT * min(height, width):
        raise ValueError(
            f"images are {width} x {height} pixels; the longer side may be at most {MAX_ASPECT} times the shorter, "
            "crop or pad them"
        )


def spread(maps: Tensor, cells: tuple[int, int]) -> Tensor:
    """Read maps (N, C, h, w) that cover an image at the centres of other equal cells that cover it."""
    if tuple(maps.shape[-2:]) == cells:
        return maps
    return interpolate(maps, cells, mode="bilinear", align_corners=False)


def cells_of(images: Tensor, stride: int) -> tuple[int, int]:
    """Count the rows and columns of cells of about `stride` pixels that cover images (N, 3, H, W)."""
    height, width = images.shape[-2:]
    return round(height / stride), round(width / stride)
