"""The maps in canonical units and uploaded pixels."""

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
from workers.methods.asic.canonical_maps import CanonicalMaps


def atlas_form(maps: CanonicalMaps, frames: WorkingFrames, agreement: Tensor, saliency: Tensor, tick: Tick) -> Atlas:
    """Bring the maps into canonical units and uploaded pixels.

    Confidence is the geometric mean of the image's agreement (N, a, a) with the others and the saliency (A, A) of
    the canonical square, and 0 where the map folds or leaves the square.
    """
    small = interpolate(saliency[None, None], agreement.shape[-2:], mode="bilinear")[0]
    trust = (agreement * small).clamp(0, 1).sqrt()
    upright, forward, backward, confidence = maps.upright, [], [], []
    for index, box in enumerate(frames.boxes):
        rows, columns = inner_slices(box)
        places = maps.places[index, rows, columns]
        seen = sample(trust[index][None, None], places.unsqueeze(0), padding="zeros")[0, 0]
        forward.append(_array((places + 1) / 2))
        confidence.append(_array(seen * upright[index, rows, columns]))
        known = maps.known[index].unsqueeze(-1)
        backward.append(_array(torch.where(known, frame_to_upload(maps.grids[index], box), torch.nan)))
        tick()
    return Atlas(frames.image_sizes, tuple(forward), tuple(backward), tuple(confidence))


def _array(tensor: Tensor) -> npt.NDArray[np.float32]:
    return tensor.float().cpu().numpy()
