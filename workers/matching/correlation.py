"""Sliding one feature map over another: the best shift by cross-correlation in the Fourier domain.

Correlating decorrelated features is a matched filter for what two pictures share against the statistics of everything
else (Hariharan, Malik and Ramanan, "Discriminative decorrelation for clustering and classification", ECCV 2012).
"""

from __future__ import annotations

import torch
from torch import Tensor

_SPECTRUM_FLOOR = 0.02


def padded_size(cells: int) -> int:
    """Side of the Fourier grid that keeps shifts up to half the map free of wrap-around."""
    return cells + cells // 2


def spectra(maps: Tensor) -> Tensor:
    """Fourier transform (..., n, n // 2 + 1) of feature maps (..., h, h), zero-padded."""
    size = padded_size(maps.shape[-1])
    result: Tensor = torch.fft.rfft2(maps, s=(size, size))
    return result


def spatial_whitening(power: Tensor) -> Tensor:
    """Gains (D, n, m) that halve, in the exponent, the mean spectral power (D, n, m): between none and phase only."""
    floor = _SPECTRUM_FLOOR * power.mean(dim=(-2, -1), keepdim=True)
    return (power + floor).pow(-0.25)


def correlate(first: Tensor, second: Tensor) -> Tensor:
    """Correlation (..., n, n) from spectra (..., D, n, m): entry (dy, dx) is sum_p <first(p), second(p + (dx, dy))>."""
    size = first.shape[-2]
    result: Tensor = torch.fft.irfft2((first.conj() * second).sum(dim=-3), s=(size, size))
    return result


def correlate_directly(first: Tensor, second: Tensor, dx: int, dy: int) -> float:
    """One entry of `correlate`, summed plainly from maps (D, h, h)."""
    height, width = first.shape[-2:]
    total = 0.0
    for y in range(max(0, -dy), min(height, height - dy)):
        for x in range(max(0, -dx), min(width, width - dx)):
            total += float(first[:, y, x] @ second[:, y + dy, x + dx])
    return total


def best_shift(correlation: Tensor) -> tuple[Tensor, Tensor]:
    """Peak value (B,) and shift (B, 2) in cells (x, y), within half the map, of correlations (B, n, n)."""
    size = correlation.shape[-1]
    limit = size // 3
    shifts = torch.fft.fftfreq(size, 1 / size)
    far = (shifts.abs() > limit).to(correlation.device)
    allowed = correlation.masked_fill(far.view(1, -1, 1) | far.view(1, 1, -1), -torch.inf)
    value, index = allowed.flatten(1).max(dim=1)
    signed = shifts.to(correlation)
    return value, torch.stack([signed[index % size], signed[index // size]], dim=1)
