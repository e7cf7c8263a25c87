"""Dense maps in canonical units and uploaded pixels, and the residual flows."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn.functional import interpolate

from alignment.atlas import Atlas
from workers.backbones.base import Tick
from workers.geometry.coordinates import sample
from workers.imaging.frames import WorkingFrames, frame_to_upload, inner_slices
from workers.methods.neural_congealing.result import CongealingResult, picture_to_atlas


def atlas_form(result: CongealingResult, frames: WorkingFrames, agreement: Tensor, tick: Tick) -> Atlas:
    """Bring the maps into canonical units and uploaded pixels.

    The map to the atlas has one cell for each pixel of the scaled picture; padding is cut off. Confidence is the
    geometric mean of the image's agreement with the others and the atlas' saliency.

    Args:
        result: of the alignment.
        frames: the working frames that were aligned.
        agreement: (N, a, a) of `agreement_maps`.
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


def residual_flows(result: CongealingResult) -> list[npt.NDArray[np.float32]]:
    """Per image (A, A, 2): the displacement in the atlas that comes before the similarity, in [-1, 1] units."""
    return [_array(flow) for flow in result.flows]


def _array(tensor: Tensor) -> npt.NDArray[np.float32]:
    return tensor.float().cpu().numpy()
