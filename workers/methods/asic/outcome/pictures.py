"""Pictures of the canonical square, and of each image by way of it."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn.functional import interpolate

from workers.backbones.base import Tick
from workers.imaging.frames import WorkingFrames, inner_slices
from workers.methods.asic.aligned import Training
from workers.methods.asic.canonical_maps import CanonicalMaps
from workers.methods.asic.object_parts import ObjectParts
from workers.methods.atlas.pictures import Picture, as_picture, average_picture

SIDE = 512
_WHEEL_SHARE = 0.5
_PART_SHARE = 0.6
_SECTORS = 6


def canonical_rgba(frames: WorkingFrames, maps: CanonicalMaps, saliency: Tensor, kept: Tensor, tick: Tick) -> Picture:
    """The canonical grid (side, side, 4): mean colours of the kept images (N,), opaque where the object is and is seen.

    `saliency` (A, A) says where in the square it is.
    """
    average = average_picture(frames, maps.grids, kept, tick)
    alpha = saliency * maps.known.float().mean(dim=0)
    shown = interpolate(alpha[None, None], average.shape[-2:], mode="bilinear")[0]
    return as_picture(torch.cat([average, shown]))


def learned_rgba(training: Training) -> Picture:
    """The grid that the training learned (g, g, 4), as the paper defines it: clipped colours, sigmoid of the logit."""
    colours, logit = training.grid[:3], training.grid[3:]
    return as_picture(torch.cat([(colours + 1) / 2, torch.sigmoid(logit)]))


def colour_wheel(places: Tensor) -> Tensor:
    """Colours (3, ...) in [0, 1] of canonical places (..., 2): hue by direction, paler towards the middle."""
    hue = torch.atan2(places[..., 1], places[..., 0]) / (2 * math.pi) % 1
    strength = places.norm(dim=-1).clamp(max=1)
    offsets = torch.tensor([0.0, 4.0, 2.0], device=places.device).view(3, *[1] * hue.dim())
    ramp = (((hue * _SECTORS + offsets) % _SECTORS - 3).abs() - 1).clamp(0, 1)
    colours: Tensor = 1 - strength * (1 - ramp)
    return colours


def wheel_pictures(frames: WorkingFrames, maps: CanonicalMaps, foreground: Tensor) -> list[Picture]:
    """Each image (h, w, 3) with its canonical coordinates as colours on the object, foreground (N, 1, c, c)."""
    shown = interpolate(foreground, (frames.size, frames.size), mode="bilinear")
    share = _WHEEL_SHARE * shown
    colours = torch.stack([colour_wheel(places) for places in maps.places])
    return _cropped((1 - share) * frames.pictures + share * colours, frames)


def part_pictures(frames: WorkingFrames, parts: ObjectParts) -> list[Picture]:
    """Each image (h, w, 3) with its parts in colours."""
    colours = part_colours(parts.count).to(frames.pictures)
    shown = (parts.labels >= 0).unsqueeze(1).to(frames.pictures) * _PART_SHARE
    painted = colours[parts.labels + 1].permute(0, 3, 1, 2)
    return _cropped((1 - shown) * frames.pictures + shown * painted, frames)


def canonical_parts(shares: Tensor) -> Picture:
    """Parts (side, side, 3) in the canonical square by their shares (K, A, A): colours mixed, on white."""
    colours = part_colours(len(shares))[1:].to(shares)
    painted = torch.einsum("kyx,kc->cyx", shares, colours) + (1 - shares.sum(dim=0)).clamp(0, 1)
    return as_picture(interpolate(painted.unsqueeze(0), (SIDE, SIDE), mode="bilinear")[0])


def part_colours(count: int) -> Tensor:
    """Black, then evenly spaced hues: (count + 1, 3) in [0, 1]."""
    angles = 2 * math.pi * torch.arange(count) / max(count, 1)
    hues = colour_wheel(torch.stack([angles.cos(), angles.sin()], dim=-1))
    return torch.cat([torch.zeros(1, 3), hues.T])


def _cropped(pictures: Tensor, frames: WorkingFrames) -> list[Picture]:
    cut = []
    for picture, box in zip(pictures, frames.boxes, strict=True):
        rows, columns = inner_slices(box)
        cut.append(as_picture(picture[:, rows, columns]))
    return cut
