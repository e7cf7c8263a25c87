"""What a backbone is: images in, feature maps out."""

from abc import ABC, abstractmethod

import torch
from torch import Tensor

RGB_CHANNELS = 3


class Backbone(ABC):
    """Describes every place of an image by a vector; similar places get similar vectors.

    Attributes:
        name: as users type it, one of `api_schemas.backbones.BACKBONE_NAMES`.
        stride: side of a feature cell in pixels of the given image.
        dim: channels C of the features.
    """

    name: str
    stride: int
    dim: int

    @abstractmethod
    def extract(self, images: Tensor) -> Tensor:
        """Describe images.

        Args:
            images: (N, 3, H, W) RGB in [0, 1], on the backbone's device; any H and W of at least 32.

        Returns:
            (N, C, h, w) float32; the h x w cells have equal size and cover the whole image, h = round(H / stride),
            w = round(W / stride). Every image is described by itself: batches do not change the result's meaning.
        """


def check_images(images: Tensor) -> None:
    """Refuse what `Backbone.extract` cannot describe.

    Raises:
        ValueError: not a batch of RGB images, not floating point, or a side below 32 pixels.
    """
    if images.ndim != 4 or images.shape[1] != RGB_CHANNELS or not torch.is_floating_point(images):
        raise ValueError(
            f"images have shape {tuple(images.shape)} and type {images.dtype}; give (N, 3, H, W) floats in [0, 1]"
        )
    if min(images.shape[-2:]) < 32:
        raise ValueError(f"images are {images.shape[-1]} x {images.shape[-2]} pixels; give at least 32 x 32")
