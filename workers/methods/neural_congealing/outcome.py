"""From the optimised warps to what a user gets: the atlas form in uploaded pixels, pictures and figures."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn.functional import interpolate, normalize

from alignment.atlas import Atlas
from workers.geometry.coordinates import resize_grid, sample
from workers.imaging.frames import WorkingFrames, frame_to_upload, inner_slices
from workers.methods.neural_congealing.result import CongealingResult, picture_to_atlas

PICTURE_SIDE = 512
AGREEMENT_CELLS = 64
_CHECKER_CELLS = 16
_CHECKER_GREYS = (0.72, 0.82)


def image_agreement(features: Tensor, grids: Tensor, tick: Callable[[], None]) -> Tensor:
    """How well each image agrees with the mean of the others, (N, a, a) in [0, 1] on a lattice of the atlas.

    The cosine of features (N, C, h, w), less their mean over the set, read through maps atlas -> picture
    (N, A, A, 2); below 0 counts as 0. `tick` is called for every image.
    """
    mean = features.mean(dim=(0, 2, 3), keepdim=True)[0]
    lattice = resize_grid(grids, AGREEMENT_CELLS)

    def warped(index: int) -> Tensor:
        tick()
        return normalize(sample(features[index : index + 1] - mean, lattice[index : index + 1])[0], dim=0)

    count = len(features)
    total = warped(0)
    for index in range(1, count):
        total = total + warped(index)
    cosines = []
    for index in range(count):
        own = warped(index)
        cosines.append((own * normalize(total - own, dim=0)).sum(dim=0))
    return torch.stack(cosines).clamp(0, 1)


def atlas_form(result: CongealingResult, frames: WorkingFrames, agreement: Tensor, tick: Callable[[], None]) -> Atlas:
    """Bring the maps into canonical units and uploaded pixels.

    The map to the atlas has one cell for each pixel of the scaled picture; padding is cut off. Confidence is the
    geometric mean of the image's agreement with the others and the atlas' saliency.

    Args:
        result: of `align`.
        frames: the working frames that were aligned.
        agreement: of `image_agreement`.
        tick: called after every image.
    """
    forward, backward, confidence = [], [], []
    saliency = interpolate(result.atlas_saliency[None, None], agreement.shape[-2:], mode="bilinear")[0]
    trust = (agreement * saliency).clamp(0, 1).sqrt()
    for index, box in enumerate(frames.boxes):
        rows, columns = inner_slices(box)
        inverse = picture_to_atlas(result, index, frames.size, frames.size)
        points, valid = inverse.points[rows, columns], inverse.valid[rows, columns]
        seen = sample(trust[index][None, None], points.unsqueeze(0).to(trust))[0, 0]
        forward.append(_array(torch.where(valid.unsqueeze(-1), (points + 1) / 2, torch.nan)))
        confidence.append(_array(torch.where(valid, seen, 0.0)))
        backward.append(_array(frame_to_upload(result.grids[index], box)))
        tick()
    return Atlas(frames.image_sizes, tuple(forward), tuple(backward), tuple(confidence))


def image_scores(result: CongealingResult, frames: WorkingFrames) -> list[dict[str, float | bool]]:
    """Per image its similarity in uploaded pixels and how well it fits.

    `x_px`, `y_px`: where the atlas' centre lies; `side_px`: length of the atlas' side; `rotation_rad`: direction of
    the atlas' x axis in the image (of the mirrored image where `mirrored`), clockwise as y points down.
    """
    scores: list[dict[str, float | bool]] = []
    for index, box in enumerate(frames.boxes):
        sign = -1.0 if bool(result.mirrored[index]) else 1.0
        centre = frame_to_upload(torch.stack([sign * result.tx[index], result.ty[index]]), box)
        scores.append(
            {
                "mirrored": bool(result.mirrored[index]),
                "rotation_rad": float(result.theta[index]),
                "x_px": float(centre[0]),
                "y_px": float(centre[1]),
                "side_px": float(result.scale[index]) * box.size / box.scale,
                "agreement": float(result.scores[index]),
                "outlier": bool(result.outlier[index]),
                "fold_over": float(result.fold[index]),
            }
        )
    return scores


def atlas_pictures(
    result: CongealingResult, frames: WorkingFrames, tick: Callable[[], None]
) -> Mapping[str, npt.NDArray[np.uint8]]:
    """The average of the congealed pictures, plain and on a checkerboard by saliency, and the saliency itself."""
    average = average_picture(frames, result, tick)
    saliency = interpolate(result.atlas_saliency[None, None], (PICTURE_SIDE, PICTURE_SIDE), mode="bilinear")[0]
    board = checkerboard(PICTURE_SIDE).to(average)
    return {
        "pictures/atlas": _picture(average),
        "pictures/atlas_masked": _picture(saliency * average + (1 - saliency) * board),
        "pictures/atlas_saliency": _picture(saliency.expand(3, -1, -1)),
    }


def average_picture(frames: WorkingFrames, result: CongealingResult, tick: Callable[[], None]) -> Tensor:
    """Mean (3, side, side) of the pictures seen through the atlas, outliers left out; grey where none is seen."""
    grids = resize_grid(result.grids, PICTURE_SIDE)
    total = torch.zeros(3, PICTURE_SIDE, PICTURE_SIDE, device=grids.device)
    weight = torch.zeros(1, PICTURE_SIDE, PICTURE_SIDE, device=grids.device)
    valid = frames.valid(frames.size)
    kept = ~result.outlier if bool((~result.outlier).any()) else torch.ones_like(result.outlier)
    for index in kept.nonzero().flatten().tolist():
        grid = grids[index : index + 1]
        seen = sample(valid[index : index + 1], grid, padding="zeros")[0]
        total += seen * sample(frames.pictures[index : index + 1], grid)[0]
        weight += seen
        tick()
    return torch.where(weight > 0, total / weight.clamp(min=1e-6), 0.5)


def checkerboard(side: int) -> Tensor:
    """A grey checkerboard (1, side, side), to stand for transparency."""
    cell = torch.arange(side) // max(1, math.ceil(side / _CHECKER_CELLS))
    odd = (cell[:, None] + cell) % 2
    low, high = _CHECKER_GREYS
    return (low + (high - low) * odd).unsqueeze(0)


def _picture(rgb: Tensor) -> npt.NDArray[np.uint8]:
    return (rgb.clamp(0, 1) * 255).round().byte().permute(1, 2, 0).cpu().numpy()


def _array(tensor: Tensor) -> npt.NDArray[np.float32]:
    return tensor.float().cpu().numpy()
