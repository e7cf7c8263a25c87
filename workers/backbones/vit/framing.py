"""From images of any size to what a transformer takes, and from its patches back to cells of the image."""

import torch
from torch import Tensor
from torch.nn.functional import grid_sample, interpolate

_MEAN = (0.485, 0.456, 0.406)
_STD = (0.229, 0.224, 0.225)


def normalised(images: Tensor) -> Tensor:
    """Subtract ImageNet's mean from (N, 3, H, W) in [0, 1] and divide by its deviation."""
    mean, std = (images.new_tensor(values).view(1, 3, 1, 1) for values in (_MEAN, _STD))
    return (images - mean) / std


def fitted(images: Tensor, patch: int) -> Tensor:
    """Resize images (N, 3, H, W) in [0, 1] to the nearest size in whole patches, so that patches cover all of them."""
    height, width = images.shape[-2:]
    size = [max(1, round(side / patch)) * patch for side in (height, width)]
    if size == [height, width]:
        return images
    return interpolate(images, size, mode="bicubic", antialias=True).clamp(0, 1)


def spread(maps: Tensor, cells: tuple[int, int], *, patch: int, stride: int) -> Tensor:
    """Read maps (N, C, rows, columns) of patches at the centres of equal cells over the whole image.

    Patches' centres lie half a patch inside; cells further out take the nearest patch's value.

    Returns:
        (N, C, *cells), bilinear.
    """
    if patch == stride and maps.shape[-2:] == cells:
        return maps
    axes = []
    for count, cell_count in zip(maps.shape[-2:], cells, strict=True):
        side = patch + (count - 1) * stride
        centres = (torch.arange(cell_count, device=maps.device) + 0.5) * (side / cell_count)
        index = (centres - patch / 2) / stride
        axes.append((2 * index + 1) / count - 1)
    grid_y, grid_x = torch.meshgrid(axes[0], axes[1], indexing="ij")
    grid = torch.stack([grid_x, grid_y], dim=-1).expand(len(maps), -1, -1, -1)
    return grid_sample(maps, grid, padding_mode="border", align_corners=False)
