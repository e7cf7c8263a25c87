"""Pictures of the atlas, and of each image by way of the atlas."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn.functional import interpolate

from alignment.atlas import Atlas
from workers.backbones.base import Tick
from workers.geometry.coordinates import resize_grid, sample
from workers.imaging.frames import WorkingFrames

PICTURE_SIDE = 512
MASK_SIDE = 256
_CHECKER_CELLS = 16
_CHECKER_GREYS = (0.72, 0.82)

Picture = npt.NDArray[np.uint8]


def atlas_pictures(
    frames: WorkingFrames, grids: Tensor, saliency: Tensor, kept: Tensor, tick: Tick
) -> dict[str, Picture]:
    """The average of the congealed pictures, plain and on a checkerboard by saliency, and the saliency itself.

    Args:
        frames: N pictures.
        grids: (N, A, A, 2) atlas -> picture as uploaded.
        saliency: (A, A) of the atlas in [0, 1].
        kept: (N,) bool, pictures that make up the average; all if there is none.
        tick: called for every picture.
    """
    average = average_picture(frames, grids, kept, tick)
    shown = interpolate(saliency[None, None], (PICTURE_SIDE, PICTURE_SIDE), mode="bilinear")[0]
    board = checkerboard(PICTURE_SIDE).to(average)
    return {
        "pictures/atlas": as_picture(average),
        "pictures/atlas_masked": as_picture(shown * average + (1 - shown) * board),
        "pictures/atlas_saliency": as_picture(shown.expand(3, -1, -1)),
    }


def average_picture(frames: WorkingFrames, grids: Tensor, kept: Tensor, tick: Tick) -> Tensor:
    """Mean (3, side, side) of the kept pictures seen through the atlas; grey where none is seen."""
    grids = resize_grid(grids, PICTURE_SIDE)
    total = torch.zeros(3, PICTURE_SIDE, PICTURE_SIDE, device=grids.device)
    weight = torch.zeros(1, PICTURE_SIDE, PICTURE_SIDE, device=grids.device)
    valid = frames.valid(frames.size)
    kept = kept if bool(kept.any()) else torch.ones_like(kept)
    for index in kept.nonzero().flatten().tolist():
        grid = grids[index : index + 1]
        seen = sample(valid[index : index + 1], grid, padding="zeros")[0]
        total += seen * sample(frames.pictures[index : index + 1], grid)[0]
        weight += seen
        tick()
    return torch.where(weight > 0, total / weight.clamp(min=1e-6), 0.5)


def congealed_masks(grids: Tensor, masks: Tensor) -> list[Picture]:
    """Grey pictures (side, side) of masks (N, 1, h, w) seen through the atlas by grids (N, A, A, 2)."""
    grids = resize_grid(grids, MASK_SIDE)
    seen = [sample(mask[None], grid[None], padding="zeros")[0] for mask, grid in zip(masks, grids, strict=True)]
    return [as_picture(mask) for mask in seen]


def saliency_in_images(saliency: Tensor, form: Atlas) -> list[Picture]:
    """Grey pictures (h, w) of each image on the grid of its map: the atlas' saliency (A, A) there; 0 where no place."""
    pictures = []
    for points in form.to_canonical:
        places = torch.from_numpy(points).to(saliency) * 2 - 1
        known = places.isfinite().all(dim=-1)
        seen = sample(saliency[None, None], torch.where(known.unsqueeze(-1), places, 0.0)[None])[0]
        pictures.append(as_picture(seen * known))
    return pictures


def checkerboard(side: int) -> Tensor:
    """A grey checkerboard (1, side, side), to stand for transparency."""
    cell = torch.arange(side) // max(1, math.ceil(side / _CHECKER_CELLS))
    odd = (cell[:, None] + cell) % 2
    low, high = _CHECKER_GREYS
    return (low + (high - low) * odd).unsqueeze(0)


def as_picture(values: Tensor) -> Picture:
    """(3, H, W) or (1, H, W) in [0, 1] to 8 bits: (H, W, 3), or grey (H, W)."""
    pixels: Picture = (values.clamp(0, 1) * 255).round().byte().permute(1, 2, 0).cpu().numpy()
    return pixels[..., 0] if pixels.shape[2] == 1 else pixels
