"""Drawn creatures with masks and true keypoints."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from alignment.scores import AnnotatedImage
from tests.workers.methods.drawn import creatures, pictures
from workers.methods.base import InputImage

SIDE = 256.0


def masked_pictures(indices: Sequence[int], *, mirrored: tuple[int, ...] = ()) -> list[InputImage]:
    """Some of the creatures, the first trimmed, each with the mask that says where it is."""
    drawn, images = creatures(mirrored), []
    for index, image in zip(indices, pictures(mirrored=mirrored, indices=tuple(indices)), strict=True):
        mask = (drawn.image_masks[index, 0] * 255).astype(np.uint8)
        images.append(replace(image, mask=mask[: image.height]))
    return images


def annotated(indices: Sequence[int], *, mirrored: tuple[int, ...] = ()) -> dict[int, AnnotatedImage]:
    """Their keypoints, by position."""
    keypoints = creatures(mirrored).keypoints
    return {
        position: AnnotatedImage(np.column_stack([keypoints[index], np.ones(len(keypoints[index]))]), SIDE)
        for position, index in enumerate(indices)
    }
