"""FreeU (arXiv 2309.11497) as the features of Telling Left from Right (arXiv 2311.17034) were taken.

Before a hidden state meets its skip connection, half of its channels are amplified and the skip's lowest frequencies
damped. The stage is told by the hidden state's channel count, so it acts on more steps than diffusers' `enable_freeu`,
which goes by block.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Stage:
    """What happens at one width of the U-Net."""

    amplify: float
    """Factor of the first half of the hidden state's channels."""
    damp: float
    """Factor of the skip's lowest frequencies."""


_WIDE, _NARROW = Stage(amplify=1.2, damp=0.9), Stage(amplify=1.4, damp=0.2)


@dataclass(frozen=True)
class FreeU:
    """What happens at each channel count of the hidden state."""

    stages: Mapping[int, Stage]

    @classmethod
    def of_widths(cls, widths: Sequence[int]) -> "FreeU":
        """The official stages of a U-Net by its levels' channels, (320, 640, 1280, 1280) in Stable Diffusion 1.x."""
        return cls({widths[1]: _NARROW, widths[-1]: _WIDE})

    def amplified(self, hidden: Tensor) -> Tensor:
        """Amplify the first half of the channels of (N, C, h, w), where C is a stage's."""
        stage = self.stages.get(hidden.shape[1])
        if stage is None:
            return hidden
        first, second = hidden.tensor_split(2, dim=1)
        return torch.cat([stage.amplify * first, second], dim=1)

    def damped(self, skip: Tensor, channels: int) -> Tensor:
        """Damp the low frequencies of the skip that joins a hidden state of so many channels."""
        stage = self.stages.get(channels)
        return skip if stage is None else low_frequencies_scaled(skip, stage.damp)


def low_frequencies_scaled(maps: Tensor, factor: float) -> Tensor:
    """Scale the 2 x 2 central block of the shifted spectrum of maps (..., h, w): frequencies -1 and 0 of each axis.

    The block lies off centre, so the inverse transform has an imaginary part, which is dropped.
    """
    # In float32 because half precision is transformed on some devices only, and for powers of two only.
    spectrum = torch.fft.fftshift(torch.fft.fft2(maps.float()), dim=(-2, -1))
    row, column = maps.shape[-2] // 2, maps.shape[-1] // 2
    spectrum[..., max(0, row - 1) : row + 1, max(0, column - 1) : column + 1] *= factor
    scaled: Tensor = torch.fft.ifft2(torch.fft.ifftshift(spectrum, dim=(-2, -1))).real
    return scaled.to(maps.dtype)
