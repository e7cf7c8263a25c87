"""Mean-field inference in a fully connected CRF (Kraehenbuehl and Koltun, NIPS 2011, arXiv 1210.5644).

Labels like to agree with places near by (Gaussian kernel) and with places near by of a like colour (bilateral
kernel). With the kernels K_m, p = q included, and their symmetric normalisation K~ = D^-1/2 K D^-1/2, D = K 1:

    Q <- softmax(-e + sum_m w_m K~_m Q),   Q_0 = softmax(-e)

`dense_crf_exact` multiplies with the whole kernels; `dense_crf` cuts them off, by default beyond 15 pixels, where the
bilateral one has fallen to 1 % of its centre, and needs little more memory than its arguments.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Tensor
from torch.nn.functional import conv2d

from workers.backbones.base import Tick, no_tick

RADIUS = 15
EXACT_PIXELS = 4096
_LEVELS = 255

Kernel = Callable[[Tensor], Tensor]
"""Multiplies maps (L, H, W) with a kernel over the pixels."""


@dataclass(frozen=True)
class CrfOptions:
    """Kernels and number of steps, as in the part co-segmentation of arXiv 2112.05814."""

    steps: int = 10
    smooth_px: float = 3.0
    smooth_weight: float = 50.0
    bilateral_px: float = 5.0
    bilateral_levels: float = 13.0
    """Deviation in colour, of 255 levels."""
    bilateral_weight: float = 15.0
    radius: int = RADIUS
    """Pixels beyond which `dense_crf` cuts the kernels off."""

    def at_scale(self, scale: float) -> CrfOptions:
        """The same for pictures scaled by this."""
        return replace(
            self,
            smooth_px=self.smooth_px * scale,
            bilateral_px=self.bilateral_px * scale,
            radius=round(self.radius * scale),
        )


def dense_crf(energies: Tensor, image: Tensor, options: CrfOptions | None = None, *, tick: Tick = no_tick) -> Tensor:
    """Label probabilities (L, H, W) by mean field with kernels that are cut off.

    Args:
        energies: (L, H, W), low where a label fits.
        image: (3, H, W) RGB in [0, 1].
        tick: called many times a step.
    """
    options = options or CrfOptions()
    colours = image.float() * (_LEVELS / options.bilateral_levels)
    smooth = _gaussian(options.smooth_px, options.radius)
    bilateral = _windowed_bilateral(colours, options.bilateral_px, options.radius, tick)
    return _mean_field(
        energies, [(options.smooth_weight, smooth), (options.bilateral_weight, bilateral)], options.steps
    )


def dense_crf_exact(energies: Tensor, image: Tensor, options: CrfOptions | None = None) -> Tensor:
    """As `dense_crf` with whole kernels.

    Raises:
        ValueError: more than 4096 pixels, whose kernels would not fit.
    """
    options = options or CrfOptions()
    height, width = image.shape[-2:]
    if height * width > EXACT_PIXELS:
        raise ValueError(f"{height * width} pixels are too many for exact kernels; give at most {EXACT_PIXELS}")
    y, x = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    places = torch.stack([y, x]).flatten(1).T.to(image)
    colours = image.float().flatten(1).T * (_LEVELS / options.bilateral_levels)
    smooth = _whole(places / options.smooth_px)
    bilateral = _whole(torch.cat([places / options.bilateral_px, colours], dim=1))
    return _mean_field(
        energies, [(options.smooth_weight, smooth), (options.bilateral_weight, bilateral)], options.steps
    )


def _mean_field(energies: Tensor, kernels: list[tuple[float, Kernel]], steps: int) -> Tensor:
    likelihood = -energies.float()
    ones = torch.ones_like(likelihood[:1])
    norms = [kernel(ones).rsqrt() for _, kernel in kernels]
    beliefs = likelihood.softmax(dim=0)
    for _ in range(steps):
        support = likelihood.clone()
        for (weight, kernel), norm in zip(kernels, norms, strict=True):
            support += weight * norm * kernel(norm * beliefs)
        beliefs = support.softmax(dim=0)
    return beliefs


def _whole(places: Tensor) -> Kernel:
    kernel = torch.exp(-0.5 * torch.cdist(places, places, compute_mode="donot_use_mm_for_euclid_dist").square())
    return lambda maps: (maps.flatten(1) @ kernel).view_as(maps)


def _gaussian(deviation_px: float, radius: int) -> Kernel:
    offsets = torch.arange(-radius, radius + 1, dtype=torch.float32)
    taps = torch.exp(-0.5 * (offsets / deviation_px).square())

    def apply(maps: Tensor) -> Tensor:
        weights = taps.to(maps).view(1, 1, -1, 1)
        rows = conv2d(maps.unsqueeze(1), weights, padding=(radius, 0))
        return conv2d(rows, weights.transpose(2, 3), padding=(0, radius)).squeeze(1)

    return apply


def _windowed_bilateral(colours: Tensor, deviation_px: float, radius: int, tick: Tick) -> Kernel:
    """Go over the offsets of half the window: one weight serves a pixel and its neighbour both ways."""

    def apply(maps: Tensor) -> Tensor:
        total = maps.clone()
        last = min(radius, maps.shape[-1] - 1)
        for down, right in _half_window(radius, *maps.shape[-2:]):
            near, far = _overlap(down, right)
            distance = (colours[:, *near] - colours[:, *far]).square_().sum(dim=0)
            distance += (down**2 + right**2) / deviation_px**2
            weight = distance.mul_(-0.5).exp_()
            total[:, *near].addcmul_(weight, maps[:, *far])
            total[:, *far].addcmul_(weight, maps[:, *near])
            if right == last:
                tick()
        return total

    return apply


def _half_window(radius: int, height: int, width: int) -> list[tuple[int, int]]:
    """Offsets (down, right) of the window's lower half that fit into the picture."""
    return [
        (down, right)
        for down in range(min(radius, height - 1) + 1)
        for right in range(-min(radius, width - 1), min(radius, width - 1) + 1)
        if (down, right) > (0, 0)
    ]


def _overlap(down: int, right: int) -> tuple[tuple[slice, slice], tuple[slice, slice]]:
    """Pixels that have a neighbour at the offset, and those neighbours."""
    rows, far_rows = slice(None, -down or None), slice(down, None)
    near, far = slice(None, -abs(right) or None), slice(abs(right), None)
    return ((rows, near), (far_rows, far)) if right >= 0 else ((rows, far), (far_rows, near))
