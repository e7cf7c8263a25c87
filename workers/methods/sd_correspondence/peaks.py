"""The peak that attention is to have, and how far it is from it."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache

import torch
from torch import Tensor
from torch.nn.functional import interpolate, mse_loss


@cache
def upsampling(cells: int, pixels: int) -> Tensor:
    """Matrix (pixels, cells) that reads values of cells linearly at the centres of pixels."""
    return interpolate(torch.eye(cells)[None], pixels, mode="linear", align_corners=False)[0].T.contiguous()


def profile(centres: Tensor, pixels: int, sigma: float, *, half_pixel: bool) -> Tensor:
    """Gaussians (..., pixels) of height 1 round centres (...) in pixels, read at each pixel.

    The official code reads them at the pixels' corners; `half_pixel` reads them at their centres.
    """
    places = torch.arange(pixels, dtype=torch.float32, device=centres.device) + (0.5 if half_pixel else 0.0)
    return torch.exp(-(places - centres[..., None]).square() / (2 * sigma**2))


class PeakLoss:
    """Mean over layers and pixels of the squared difference between attention, upsampled, and a Gaussian.

    Both are products of a function of the row and one of the column, so neither is ever made:
    sum (U A U' - g_y g_x')^2 = tr(A' K A K) - 2 (U' g_y)' A (U' g_x) + |g_y|^2 |g_x|^2 with K = U' U.
    """

    def __init__(self, size: int, sigma: float, *, half_pixel: bool) -> None:
        """Compare at `size` x `size` pixels, with a Gaussian of `sigma` pixels."""
        self.size, self.sigma, self.half_pixel = size, sigma, half_pixel

    def __call__(self, maps: Sequence[Tensor], centres: Tensor) -> Tensor:
        """Compare maps with peaks.

        Args:
            maps: per layer attention (B, T, s, s).
            centres: (B, T, 2) where the peaks shall be, x and y in pixels.

        Returns:
            (B, T).
        """
        across, down = self._profiles(centres)
        peak = across.square().sum(-1) * down.square().sum(-1)
        total = torch.zeros_like(peak)
        for attention in maps:
            matrix = upsampling(attention.shape[-1], self.size).to(attention.device)
            overlaps = matrix.T @ matrix
            own = ((overlaps @ attention) * (attention @ overlaps)).sum((-2, -1))
            rows, columns = down @ matrix, across @ matrix
            shared = (rows[..., None, :] @ attention @ columns[..., :, None])[..., 0, 0]
            total = total + own - 2 * shared + peak
        return total / (len(maps) * self.size**2)

    def of_nothing(self, centres: Tensor) -> Tensor:
        """The loss (B, T) of maps that are zero everywhere."""
        across, down = self._profiles(centres)
        return across.square().sum(-1) * down.square().sum(-1) / self.size**2

    def _profiles(self, centres: Tensor) -> tuple[Tensor, Tensor]:
        """The wanted peaks (B, T, S) as functions of the column and of the row."""
        across, down = (
            profile(centres[..., axis], self.size, self.sigma, half_pixel=self.half_pixel) for axis in (0, 1)
        )
        return across, down


def plain_peak_loss(maps: Sequence[Tensor], centres: Tensor, size: int, sigma: float, *, half_pixel: bool) -> Tensor:
    """The same as `PeakLoss`, as the paper writes it: the reference."""
    across, down = (profile(centres[..., axis], size, sigma, half_pixel=half_pixel) for axis in (0, 1))
    wanted = down[..., :, None] * across[..., None, :]
    losses = [
        mse_loss(
            interpolate(attention, (size, size), mode="bilinear", align_corners=False), wanted, reduction="none"
        ).mean((-2, -1))
        for attention in maps
    ]
    return torch.stack(losses).mean(0)
