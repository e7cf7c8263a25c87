"""Views of images for clustering: random crops, and random crops of the mirrored image."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn.functional import interpolate

AREA = (0.9, 1.0)
ASPECT = (3 / 4, 4 / 3)
_ATTEMPTS = 10
_SEEDS_APART = 100_003


def augmented_views(images: Tensor, *, crops: int = 1, seed: int = 0) -> Tensor:
    """Cut views of 90 to 100 % of the area and scale them to the images' size.

    Args:
        images: (N, 3, H, W).
        crops: per image, and as many of its mirrored copy.

    Returns:
        (2 * crops * N, 3, H, W): of every image, crop and mirrored crop in turn. The views of an image depend on
        the seed and on its place in the set, not on the other images.
    """
    views = []
    for index, image in enumerate(images):
        generator = torch.Generator().manual_seed(seed * _SEEDS_APART + index)
        for _ in range(crops):
            views += [_resized_crop(image, generator), _resized_crop(image.flip(-1), generator)]
    return torch.stack(views)


def _resized_crop(image: Tensor, generator: torch.Generator) -> Tensor:
    height, width = image.shape[-2:]
    rows, columns = _window(height, width, generator)
    crop = image[:, rows, columns].unsqueeze(0)
    return interpolate(crop, (height, width), mode="bilinear", antialias=True)[0]


def _window(height: int, width: int, generator: torch.Generator) -> tuple[slice, slice]:
    """Draw a window of random area and aspect; the whole image if ten draws do not fit into it."""
    for _ in range(_ATTEMPTS):
        area = height * width * _uniform(*AREA, generator)
        aspect = math.exp(_uniform(math.log(ASPECT[0]), math.log(ASPECT[1]), generator))
        rows, columns = round(math.sqrt(area / aspect)), round(math.sqrt(area * aspect))
        if 0 < rows <= height and 0 < columns <= width:
            top = int(torch.randint(height - rows + 1, (1,), generator=generator))
            left = int(torch.randint(width - columns + 1, (1,), generator=generator))
            return slice(top, top + rows), slice(left, left + columns)
    return slice(0, height), slice(0, width)


def _uniform(low: float, high: float, generator: torch.Generator) -> float:
    return low + (high - low) * float(torch.rand(1, generator=generator, dtype=torch.float64))
