"""Views of pictures: warped, recoloured, sometimes small on foreign ground; each knows where its places come from."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import affine_grid, grid_sample, interpolate

from benchmarks.train_embedded.pictures import LabelledPictures
from workers.backbones.vit.framing import normalised

MARGIN_PX = 20


@dataclass(frozen=True)
class Views:
    """B views of S x S pixels.

    Attributes:
        inputs: (B, 3, S, S), normalised for the network.
        places: (B, S, S, 2), where each pixel lies in its picture's frame, x and y in [-1, 1].
        inside: (B, S, S), whether that is on the picture, not on the frame's border or foreign ground.
    """

    inputs: Tensor
    places: Tensor
    inside: Tensor


def draw_views(
    pictures: LabelledPictures, chosen: Tensor, facing: Tensor, *, size_px: int, clutter_share: float
) -> Views:
    """Look at the pictures `chosen` (B,), mirrored where `facing` (B,) is -1."""
    frames = pictures.frames[chosen].float() / 255
    small = torch.rand(len(chosen)) < clutter_share
    places = _places(facing, small, size_px)
    views = grid_sample(frames, places, padding_mode="reflection", align_corners=False)
    inside = (places.abs() <= pictures.extents[chosen][:, None, None, :]).all(dim=-1)
    foreign = (small[:, None, None] & ~inside)[:, None]
    views = torch.where(foreign, _foreign_ground(frames, size_px), views)
    inputs = normalised(_recoloured(_blurred(views)).clamp(0, 1))
    return Views(inputs.contiguous(memory_format=torch.channels_last), places, inside)


def _places(facing: Tensor, small: Tensor, size_px: int) -> Tensor:
    """An affine map of the view onto the frame, with a smooth bend."""
    count = len(facing)
    scale = torch.where(small, _uniform(count, 1.1, 1.9), _uniform(count, 0.6, 1.1))
    aspect, angle = _uniform(count, -0.18, 0.18).exp(), 0.22 * torch.randn(count)
    shift = _uniform((count, 2), -1, 1) * torch.where(small, 0.6, 0.35)[:, None]
    cosine, sine = angle.cos(), angle.sin()
    rows = [
        torch.stack([scale * aspect * cosine * facing, -scale * sine, shift[:, 0]], dim=-1),
        torch.stack([scale * sine * facing, scale / aspect * cosine, shift[:, 1]], dim=-1),
    ]
    grid = affine_grid(torch.stack(rows, dim=1), [count, 3, size_px, size_px], align_corners=False)
    bend = interpolate(0.05 * torch.randn(count, 2, 4, 4), size=(size_px, size_px), mode="bilinear")
    return grid + bend.permute(0, 2, 3, 1)


def _foreign_ground(frames: Tensor, size_px: int) -> Tensor:
    """The middle of another picture of the batch, or its mean colour."""
    middle = frames.roll(7, 0)[..., MARGIN_PX:-MARGIN_PX, MARGIN_PX:-MARGIN_PX]
    ground = interpolate(middle, size=(size_px, size_px), mode="bilinear")
    plain = torch.rand(len(frames), 1, 1, 1) < 0.4
    return torch.where(plain, ground.mean(dim=(2, 3), keepdim=True), ground)


def _blurred(views: Tensor) -> Tensor:
    chosen = torch.rand(len(views)) < 0.15
    if chosen.any():
        half = interpolate(views[chosen], scale_factor=0.5, mode="bilinear", antialias=True)
        views[chosen] = interpolate(half, size=views.shape[-2:], mode="bilinear")
    return views


def _recoloured(views: Tensor) -> Tensor:
    """Change brightness, contrast and saturation (an eighth becomes grey), and tint."""
    each = (len(views), 1, 1, 1)
    views = views * _uniform(each, 0.6, 1.4)
    mean = views.mean(dim=(1, 2, 3), keepdim=True)
    views = (views - mean) * _uniform(each, 0.6, 1.4) + mean
    grey = views.mean(dim=1, keepdim=True)
    saturation = _uniform(each, 0, 1.6) * (torch.rand(each) > 0.12)
    return (views - grey) * saturation + grey + 0.2 * (torch.rand(len(views), 3, 1, 1) - 0.5)


def _uniform(size: int | tuple[int, ...], low: float, high: float) -> Tensor:
    return torch.empty(size).uniform_(low, high)
