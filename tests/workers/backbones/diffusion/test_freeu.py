import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

from workers.backbones.diffusion.freeu import FreeU, low_frequencies_scaled

STABLE_DIFFUSION = FreeU.of_widths((320, 640, 1280, 1280))


@pytest.mark.parametrize(("channels", "factor"), [(1280, 1.2), (640, 1.4), (320, 1.0)])
def test_half_of_the_channels_is_amplified_by_their_count(channels: int, factor: float) -> None:
    amplified = STABLE_DIFFUSION.amplified(torch.ones(1, channels, 2, 2))
    assert amplified[0, :, 0, 0].tolist() == pytest.approx([factor] * (channels // 2) + [1.0] * (channels // 2))


@pytest.mark.parametrize(("channels", "factor"), [(1280, 0.9), (640, 0.2), (320, 1.0)])
def test_flat_skips_are_damped_by_the_hidden_states_channels(channels: int, factor: float) -> None:
    damped = STABLE_DIFFUSION.damped(torch.ones(1, 960, 4, 4), channels)
    assert_close(damped, torch.full_like(damped, factor))


def reference(maps: Tensor, factor: float) -> Tensor:
    """The filter by the definition of the discrete Fourier transform, one frequency at a time."""
    height, width = maps.shape
    y, x = torch.meshgrid(torch.arange(height).double(), torch.arange(width).double(), indexing="ij")
    kept = maps.double().to(torch.complex128)
    for v in {0, -1 % height}:
        for u in {0, -1 % width}:
            wave = torch.exp(2j * torch.pi * (v * y / height + u * x / width))
            kept = kept - (1 - factor) * (maps * wave.conj()).mean() * wave
    return kept.real.float()


@pytest.mark.parametrize("shape", [(8, 8), (6, 10), (5, 7), (1, 4), (1, 1)])
def test_filter_scales_the_frequencies_0_and_minus_1(shape: tuple[int, int]) -> None:
    maps = torch.randn(shape, generator=torch.Generator().manual_seed(0))
    assert_close(low_frequencies_scaled(maps, 0.2), reference(maps, 0.2), atol=1e-5, rtol=0)


def test_half_precision_stays_so() -> None:
    maps = torch.ones(1, 2, 6, 6, dtype=torch.bfloat16)
    assert low_frequencies_scaled(maps, 0.5).dtype == torch.bfloat16
