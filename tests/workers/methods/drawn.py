"""A few small pictures of one drawn creature, with their true correspondences."""

from functools import cache

import numpy as np

from workers.evaluation.template_set import TemplateSet, template_set
from workers.methods.base import InputImage

INDICES = (0, 1, 2, 6)
TRIM = 40


@cache
def creatures(mirrored: tuple[int, ...] = ()) -> TemplateSet:
    return template_set(mirrored=mirrored)


def pictures(*, mirrored: tuple[int, ...] = (), indices: tuple[int, ...] = INDICES) -> list[InputImage]:
    """Four pictures, the first trimmed to 256 x 216, all without clutter: the background is plain."""
    drawn = creatures(mirrored)
    images = []
    for index in indices:
        rgb = drawn.images[index] * drawn.image_masks[index] + 0.5 * (1 - drawn.image_masks[index])
        images.append(InputImage(f"creature-{index}.png", (rgb.transpose(1, 2, 0) * 255).round().astype(np.uint8)))
    images[0] = InputImage(images[0].name, images[0].rgb[: 256 - TRIM])
    return images
