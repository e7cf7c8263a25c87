"""Where tokens stand, and how a transformer is told so: overlapping patches, learned and rotary position embeddings."""

import math

import torch
from torch import Tensor
from torch.nn.functional import interpolate, pad

OFFSET = 0.1
"""What DINO's code adds to the wanted number of tokens before it divides; the sampling step follows from the sum."""


def token_count(side: int, patch: int, stride: int) -> int:
    """Count the patches on a side of an image, one every `stride` pixels, without padding."""
    return 1 + (side - patch) // stride


def resampled_position(grid: Tensor, rows: int, columns: int, *, antialias: bool = False) -> Tensor:
    """Resample a learned position embedding for another number of tokens, by the rules of the official codes.

    Bicubic in float32. DINO (arXiv 2104.14294) and DINOv2 (arXiv 2304.07193) take the sampling step
    1 / ((rows + 0.1) / side) without antialiasing; DINOv2 with registers (arXiv 2309.16588) takes side / rows with it.

    Args:
        grid: (1, side * side, C), row by row.
        rows: of tokens.
        columns: of tokens.
        antialias: the rule of the networks with registers.

    Returns:
        (1, rows * columns, C); `grid` itself where the numbers agree.
    """
    side = math.isqrt(grid.shape[1])
    if rows == columns == side:
        return grid
    maps = grid.float().reshape(1, side, side, -1).permute(0, 3, 1, 2)
    if antialias:
        resized = interpolate(maps, (rows, columns), mode="bicubic", antialias=True)
    else:
        factor = ((rows + OFFSET) / side, (columns + OFFSET) / side)
        resized = interpolate(maps, scale_factor=factor, mode="bicubic", recompute_scale_factor=False)
    return resized[..., :rows, :columns].flatten(2).transpose(1, 2)


def rotary_table(periods: Tensor, size: tuple[int, int], *, patch: int, stride: int, prefix: int) -> Tensor:
    """Tabulate the turns of DINOv3's rotary position embedding (arXiv 2508.10104).

    A token stands at its patch's centre in [-1, 1] over the image, at every stride: overlapping patches lie between the
    places that the network knows, and tokens a patch apart differ by the same angles as without overlap.

    Args:
        periods: (d / 4,), of the angles, in units of the coordinates.
        size: height and width of the image in pixels.
        patch: side of a patch in pixels.
        stride: pixels between patches.
        prefix: number of tokens in front that have no place and do not turn.

    Returns:
        (2, prefix + tokens, d) float32, cosines and sines; the second half of the d columns repeats the first.
    """
    axes = []
    for side in size:
        centres = torch.arange(token_count(side, patch, stride), device=periods.device) * stride + patch / 2
        axes.append(2 * centres / side - 1)
    places = torch.stack(torch.meshgrid(axes[0], axes[1], indexing="ij"), dim=-1).reshape(-1, 2, 1)
    angles = (2 * math.pi * places / periods.float()).flatten(1).tile(1, 2)
    angles = pad(angles, (0, 0, prefix, 0))
    return torch.stack([angles.cos(), angles.sin()])


def rotated(vectors: Tensor, table: Tensor) -> Tensor:
    """Turn vectors (N, heads, T, d) by the angles (2, T, d) of their tokens; dimension i turns with i + d / 2."""
    cosines, sines = table
    first, second = vectors.chunk(2, dim=-1)
    turned: Tensor = vectors * cosines + torch.cat([-second, first], dim=-1) * sines
    return turned.to(vectors.dtype)
