"""Images of any size on canvases that the networks can halve, and features back on the cells of the image."""

from torch import Tensor
from torch.nn.functional import interpolate

CANVAS_STEP = 64
"""Pixels that become one cell of the U-Net's coarsest level; sides of canvases are multiples of it."""


def canvas_side(side: int) -> int:
    """Multiple of 64 pixels nearest to a side, at least one."""
    return max(1, round(side / CANVAS_STEP)) * CANVAS_STEP


def on_canvas(images: Tensor) -> Tensor:
    """Resize images (N, 3, H, W) in [0, 1] to the nearest whole multiples of 64 pixels; aspect gives way a little."""
    size = (canvas_side(images.shape[-2]), canvas_side(images.shape[-1]))
    return resized_images(images, size)


def resized_images(images: Tensor, size: tuple[int, int]) -> Tensor:
    """Resize images in [0, 1] to (height, width), antialiased; those of that size already stay as they are."""
    if tuple(images.shape[-2:]) == size:
        return images
    return interpolate(images, size, mode="bicubic", antialias=True, align_corners=False).clamp(0, 1)
