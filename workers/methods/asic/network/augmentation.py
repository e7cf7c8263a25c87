"""Random changes of colour, drawn and applied as kornia does in the official code of ASIC (arXiv 2303.16201)."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn.functional import pad

_CHANCES = (0.8, 0.2, 0.1, 0.2)
"""Of jitter, grey, blur and solarisation."""
_BRIGHTNESS, _CONTRAST, _SATURATION, _HUE = (0.6, 1.4), (0.6, 1.4), (0.8, 1.2), (-0.1, 0.1)
_SIGMA, _THRESHOLD, _ADDITION = (0.1, 2.0), (0.4, 0.6), (-0.1, 0.1)
_LUMA = (0.299, 0.587, 0.114)
_TINY = 1e-8


def augmented(pictures: Tensor, generator: torch.Generator, *, compat: bool) -> Tensor:
    """Change the colours of pictures (B, 3, S, S) in [-1, 1], each in its own way.

    With `compat` the changes, which are made for [0, 1], meet the pictures as they are: most then lose all that is
    below 0.

    Args:
        pictures: to change.
        generator: on the CPU; what it gives depends on nothing but its state and B.
        compat: do as the official code.
    """
    count = len(pictures)
    chosen = torch.rand(4, count, generator=generator) < torch.tensor(_CHANCES)[:, None]
    ranges = torch.tensor([_BRIGHTNESS, _CONTRAST, _SATURATION, _HUE, _SIGMA, _THRESHOLD, _ADDITION])
    drawn = ranges[:, :1] + torch.rand(len(ranges), count, generator=generator) * (ranges[:, 1:] - ranges[:, :1])
    order = torch.randperm(4, generator=generator).tolist()
    jitter, grey, blur, solarise = (flags[:, None, None, None] for flags in chosen.to(pictures.device))
    factors = [values[:, None, None, None] for values in drawn.to(pictures)]
    x = pictures if compat else (pictures + 1) / 2
    jittered = x
    for which in order:
        jittered = _JITTERS[which](jittered, factors[which])
    x = torch.where(jitter, jittered, x)
    x = torch.where(grey, _grey(x), x)
    x = torch.where(blur, _blurred(x, factors[4]), x)
    x = torch.where(solarise, _solarised(x, factors[5], factors[6]), x)
    return x if compat else 2 * x - 1


def _grey(x: Tensor) -> Tensor:
    return (x * x.new_tensor(_LUMA)[:, None, None]).sum(dim=1, keepdim=True)


def _brighter(x: Tensor, factor: Tensor) -> Tensor:
    return (x * factor).clamp(0, 1)


def _contrasted(x: Tensor, factor: Tensor) -> Tensor:
    return (x * factor + _grey(x).mean(dim=(2, 3), keepdim=True) * (1 - factor)).clamp(0, 1)


def _saturated(x: Tensor, factor: Tensor) -> Tensor:
    return (x * factor + _grey(x) * (1 - factor)).clamp(0, 1)


def _hue_turned(x: Tensor, turns: Tensor) -> Tensor:
    """Colours with their hue, of HSV, a share of a whole turn on."""
    x = x.clamp(0, 1)
    value, largest = x.max(dim=1, keepdim=True)
    chroma = value - x.amin(dim=1, keepdim=True)
    red, green, blue = torch.split(x, 1, dim=1)
    sixths = torch.cat([green - blue, blue - red, red - green], dim=1) / (chroma + _TINY)
    hue = sixths.gather(1, largest) + 2 * largest + 6 * turns
    k = (hue + x.new_tensor([5.0, 3.0, 1.0])[:, None, None]) % 6
    return value - chroma * torch.minimum(k, 4 - k).clamp(0, 1)


_JITTERS: tuple[Callable[[Tensor, Tensor], Tensor], ...] = (_brighter, _contrasted, _saturated, _hue_turned)


def _blurred(x: Tensor, sigma: Tensor) -> Tensor:
    """By 3 x 3 Gaussians."""
    beside = (-0.5 / sigma.square()).exp()
    middle = 1 / (1 + 2 * beside)
    beside = beside * middle
    x = pad(x, (1, 1, 1, 1), mode="reflect")
    x = beside * (x[:, :, :-2] + x[:, :, 2:]) + middle * x[:, :, 1:-1]
    return beside * (x[..., :-2] + x[..., 2:]) + middle * x[..., 1:-1]


def _solarised(x: Tensor, threshold: Tensor, addition: Tensor) -> Tensor:
    x = (x + addition).clamp(0, 1)
    return torch.where(x < threshold, x, 1 - x)
