"""The silhouette of a cloud of points as a soft mask, with exact gradients.

Every point is a small round Gaussian a = peak exp(-d^2 / 2 sigma^2) around its pixel; a pixel's opacity is
1 - prod(1 - a) over all points, whatever their order. No triangles are needed.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.autograd.function import FunctionCtx, once_differentiable
from torch.nn.functional import conv2d, pad

from workers.geometry.cameras import Cameras
from workers.rendering.rasteriser import pixels_of

SIGMA_PX = 1.3
PEAK = 0.95
REACH = 3
"""Pixels around a point's own that it is seen in."""
_SIDE = 2 * REACH + 1
_FIXED_POINT = 2.0**40


def soft_point_mask(
    points: Tensor, cameras: Cameras, windows: Tensor, size: int, *, sigma_px: float = SIGMA_PX, peak: float = PEAK
) -> Tensor:
    """Draw points softly from V cameras.

    Args:
        points: (P, 3) in the canonical frame.
        cameras: V of them.
        windows: (V, 3), the square part of each picture that is drawn, as in `workers.rendering.rasteriser`.
        size: pixels S a side.
        sigma_px: radius of a point.
        peak: opacity at a point's centre, in (0, 1).

    Returns:
        (V, 1, S, S) in [0, 1), differentiable in the cameras and the points, once.
    """
    places = _pixels(points, cameras, windows, size)
    log_clear: Tensor = _LogClear.apply(places, size, sigma_px, peak)
    return 1 - log_clear.exp().unsqueeze(1)


def softened(masks: Tensor, points_per_px: Tensor, *, sigma_px: float = SIGMA_PX, peak: float = PEAK) -> Tensor:
    """Draw sharp masks as if they too were clouds of points, (V, 1, S, S).

    Points make silhouettes thicker: only what is softened alike can be compared with them.

    Args:
        masks: (V, 1, S, S) in [0, 1].
        points_per_px: (V,) how many points lie on a pixel of the object.
        sigma_px: radius of a point.
        peak: opacity at a point's centre.
    """
    steps = torch.arange(-REACH, REACH + 1, device=masks.device, dtype=masks.dtype)
    fall = torch.exp(-(steps**2) / (2 * sigma_px**2))
    kernel = torch.log1p(-peak * fall[:, None] * fall)
    clear = conv2d(masks, kernel[None, None], padding=REACH)
    return 1 - (points_per_px.view(-1, 1, 1, 1) * clear).exp()


def soft_point_mask_dense(
    points: Tensor, cameras: Cameras, windows: Tensor, size: int, *, sigma_px: float = SIGMA_PX, peak: float = PEAK
) -> Tensor:
    """What `soft_point_mask` computes, written plainly: every point over every pixel."""
    places = _pixels(points, cameras, windows, size)
    pixels = torch.arange(size).to(places)
    away = pixels - places.unsqueeze(-1)
    near = (pixels - places.detach().round().unsqueeze(-1)).abs() <= REACH
    along_x, along_y = (torch.exp(-(away**2) / (2 * sigma_px**2)) * near).unbind(dim=2)
    opacity = peak * along_y.unsqueeze(-1) * along_x.unsqueeze(-2)
    return 1 - (1 - opacity).prod(dim=1).unsqueeze(1)


def _pixels(points: Tensor, cameras: Cameras, windows: Tensor, size: int) -> Tensor:
    """Where points are seen, (V, P, 2), integers at pixels' centres; far outside what lies behind."""
    places, depth = cameras.project(points)
    pixels = pixels_of(places, windows, size) - 0.5
    return torch.where((depth > 0).unsqueeze(-1), pixels, -float(size))


class _LogClear(torch.autograd.Function):
    """Sums (V, S, S) of log(1 - a) of points at places (V, P, 2) in pixels, integers at pixel centres."""

    @staticmethod
    def forward(ctx: FunctionCtx, places: Tensor, size: int, sigma_px: float, peak: float) -> Tensor:
        away, index = _around(places, size)
        fall = torch.exp(away**2 * (-0.5 / sigma_px**2))
        opacity = (peak * fall[:, :, 1, :, None]) * fall[:, :, 0, None, :]
        ctx.save_for_backward(away, opacity, index)
        ctx.sigma_px = sigma_px  # type: ignore[attr-defined]
        return _summed(torch.log1p(-opacity).view(index.shape), index, size)

    @staticmethod
    @once_differentiable
    def backward(ctx: FunctionCtx, gradient: Tensor) -> tuple[Tensor, None, None, None]:
        away, opacity, index = ctx.saved_tensors  # type: ignore[attr-defined]
        sigma_px: float = ctx.sigma_px  # type: ignore[attr-defined]
        padded = pad(gradient, (_SIDE,) * 4).flatten(1)
        pull = padded.gather(1, index).view(opacity.shape).mul_(opacity).div_(opacity - 1)
        x = (pull.sum(dim=2) * away[:, :, 0]).sum(dim=-1)
        y = (pull.sum(dim=3) * away[:, :, 1]).sum(dim=-1)
        return torch.stack([x, y], dim=-1) / sigma_px**2, None, None, None


def _around(places: Tensor, size: int) -> tuple[Tensor, Tensor]:
    """The pixels around points: how far they are (V, P, 2, 7), x and y, and numbers (V, P * 49) in a padded picture.

    The padding takes what falls outside, so that nothing has to be sorted out.
    """
    own = places.round().clamp(-REACH - 1, size + REACH)
    steps = torch.arange(-REACH, REACH + 1, device=places.device)
    width = size + 2 * _SIDE
    first = (own[..., 1].long() + _SIDE) * width + own[..., 0].long() + _SIDE
    offsets = (steps[:, None] * width + steps).flatten()
    away = own.unsqueeze(-1) + steps - places.unsqueeze(-1)
    return away, (first.unsqueeze(-1) + offsets).flatten(1)


def _summed(values: Tensor, index: Tensor, size: int) -> Tensor:
    """Values (V, K) added up at pixels (V, K) of padded pictures: (V, S, S)."""
    width = size + 2 * _SIDE
    if values.is_cuda:
        # Whole numbers add up to the same in any order, and a GPU keeps none.
        whole = (values.double() * _FIXED_POINT).long()
        total = whole.new_zeros(len(values), width * width).scatter_add_(1, index, whole)
        canvas = (total.double() / _FIXED_POINT).to(values)
    else:
        canvas = values.new_zeros(len(values), width * width).scatter_add_(1, index, values)
    return canvas.view(-1, width, width)[:, _SIDE:-_SIDE, _SIDE:-_SIDE]
