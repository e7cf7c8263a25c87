"""How a method learns where the objects are."""

from typing import Protocol

from torch import Tensor


class Saliency(Protocol):
    """Finds the objects of a set of images."""

    def __call__(self, features: Tensor, images: Tensor) -> Tensor | None:
        """Return masks (N, 1, h, w) in [0, 1] on the cells of the features, or None where everything counts.

        Args:
            features: (N, C, h, w).
            images: (N, 3, H, W) RGB in [0, 1], the same frames.
        """


def whole_picture(features: Tensor, images: Tensor) -> None:  # noqa: ARG001
    """Take no part of a picture for background; what the images have in common is found while aligning."""
    return
