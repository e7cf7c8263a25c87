"""From attention in crops to one map of the picture, and from that to a place (arXiv 2305.15581, section 3.3)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Literal

import torch
from torch import Tensor
from torch.nn.functional import adaptive_avg_pool2d

from workers.methods.sd_correspondence.crops import Crops, Window
from workers.methods.sd_correspondence.peaks import upsampling

HEAT_CELLS = 64
_SOFT_RADIUS = 48 / 512


@dataclass(frozen=True)
class Found:
    """Where a query was found in a picture, and how surely; all NaN where it was not.

    Places are pixels of the picture's square, and of the upload once `in_upload` has brought them there.

    Attributes:
        x, y: centre of the highest pixel.
        soft_x, soft_y: centroid of the peak round it.
        peak: highest attention, mean of layers and rounds, in [0, 1]; comparable between pictures.
        margin: the peak as a multiple of the highest attention more than 2 sigma away.
        round_spread: root mean square distance, in pixels of the square, of what the rounds find from their centre.
        layer_spread: the same of the layers.
        heat: (64, 64) attention.
    """

    x: float
    y: float
    soft_x: float
    soft_y: float
    peak: float
    margin: float
    round_spread: float
    layer_spread: float
    heat: Tensor

    def place(self, *, soft: bool) -> tuple[float, float]:
        """What counts as found."""
        return (self.soft_x, self.soft_y) if soft else (self.x, self.y)


def joined(maps: Sequence[Tensor], windows: Sequence[Window], crops: Crops) -> Tensor:
    """Lay the maps of K crops over each other, upsampled, and average where they overlap.

    Args:
        maps: per layer (K, ..., s, s).
        windows: where the K crops lie; together they cover the picture.
        crops: their size.

    Returns:
        (..., layers, S, S).
    """
    times = covered(windows, crops).to(maps[0].device)
    return torch.stack([laid(layer, windows, crops) / times for layer in maps], dim=-3)


def laid(layer: Tensor, windows: Sequence[Window], crops: Crops) -> Tensor:
    """Add up the upsampled maps (K, ..., s, s) of crops: (..., S, S).

    One product of matrices does it; no crop is ever upsampled by itself.
    """
    down, across = (
        torch.stack([_placed(window[axis], layer.shape[-1], crops) for window in windows]).to(layer.device)
        for axis in (1, 0)
    )
    rows = torch.einsum("kpi,k...ij->...pkj", down, layer).flatten(-2)
    return rows @ across.permute(1, 0, 2).flatten(1).T


def _placed(start: int, cells: int, crops: Crops) -> Tensor:
    """Upsampling matrix (S, s) of a crop along one axis, zero outside it."""
    matrix = torch.zeros(crops.size, cells)
    matrix[start : start + crops.side] = upsampling(cells, crops.side)
    return matrix


def covered(windows: Sequence[Window], crops: Crops) -> Tensor:
    """Count the crops that show each pixel (S, S)."""
    count = torch.zeros(crops.size, crops.size)
    for x, y in windows:
        count[y : y + crops.side, x : x + crops.side] += 1
    return count


def fused(maps: Tensor, fusion: Literal["softmax", "mean"]) -> Tensor:
    """One map (S, S) of the layers' (L, S, S): the mean of their softmax over the pixels, or the plain mean."""
    if fusion == "mean":
        return maps.mean(0)
    return maps.flatten(1).softmax(1).view_as(maps).mean(0)


def located(maps: Tensor, inside: Tensor, *, sigma: float, fusion: Literal["softmax", "mean"]) -> Found:
    """Find the query in the maps of a picture.

    Rounds in which attention is not finite do not count; if there is no other, the query is nowhere.

    Args:
        maps: (R, L, S, S) by round and layer.
        inside: (S, S) bool, pixels that show the picture.
        sigma: of the peak, in pixels.
        fusion: how layers become one.
    """
    maps = maps[maps.flatten(1).isfinite().all(1)]
    if len(maps) == 0:
        return _nowhere()
    by_layer = maps.mean(0)
    mean = by_layer.mean(0).where(inside, 0.0)
    x, y = _argmax(fused(by_layer, fusion).where(inside, -torch.inf))
    top = _argmax(mean)
    soft_x, soft_y = _centroid(mean, top)
    peak = float(mean.max())
    elsewhere = float(mean[_distances(mean, top) > 2 * sigma].max())
    return Found(
        x=x,
        y=y,
        soft_x=soft_x,
        soft_y=soft_y,
        peak=peak,
        margin=peak / max(elsewhere, 1e-6),
        round_spread=_spread([one.where(inside, 0.0) for one in maps.mean(1)]),
        layer_spread=_spread([one.where(inside, 0.0) for one in by_layer]),
        heat=adaptive_avg_pool2d(mean[None], HEAT_CELLS)[0].cpu(),
    )


def _nowhere() -> Found:
    heat = torch.full((HEAT_CELLS, HEAT_CELLS), torch.nan)
    return Found(**{one.name: math.nan for one in fields(Found) if one.name != "heat"}, heat=heat)


def _argmax(values: Tensor) -> tuple[float, float]:
    """Centre (x, y) of the highest pixel, the first of equal ones."""
    row, column = divmod(int(values.argmax()), values.shape[-1])
    return column + 0.5, row + 0.5


def _spread(maps: Sequence[Tensor]) -> float:
    places = torch.tensor([_argmax(one) for one in maps])
    return float((places - places.mean(0)).square().sum(1).mean().sqrt())


def _distances(values: Tensor, place: tuple[float, float]) -> Tensor:
    """Of each pixel's centre to a place."""
    centres = torch.arange(len(values), device=values.device) + 0.5
    return torch.hypot(centres[None, :] - place[0], centres[:, None] - place[1])


def _centroid(values: Tensor, top: tuple[float, float]) -> tuple[float, float]:
    """Mean place round the highest pixel of what rises above half of it."""
    near = _distances(values, top) <= _SOFT_RADIUS * len(values)
    weights = (values - values.max() / 2).clamp_min(0) * near
    total = weights.sum()
    if float(total) == 0.0:
        return top
    centres = torch.arange(len(values), device=values.device) + 0.5
    return float((weights.sum(0) * centres).sum() / total), float((weights.sum(1) * centres).sum() / total)
