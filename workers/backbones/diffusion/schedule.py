"""How Stable Diffusion 1.x adds noise (DDPM, arXiv 2006.11239, eq. 4, with the scaled-linear schedule)."""

from functools import cache

import torch
from torch import Tensor

TRAIN_STEPS = 1000
_BETA_FIRST, _BETA_LAST = 0.00085, 0.012


@cache
def _alpha_bars() -> Tensor:
    betas = torch.linspace(_BETA_FIRST**0.5, _BETA_LAST**0.5, TRAIN_STEPS, dtype=torch.float64).square()
    return (1 - betas).cumprod(dim=0)


def alpha_bar(timestep: int) -> float:
    """Share of the signal's variance that is left at a timestep in 0..999; falls from 0.9991 to 0.0047."""
    if not 0 <= timestep < TRAIN_STEPS:
        raise ValueError(f"timestep {timestep} does not exist; use 0 to {TRAIN_STEPS - 1}")
    return float(_alpha_bars()[timestep])


def noised(latents: Tensor, noise: Tensor, timestep: int) -> Tensor:
    """Return sqrt(alpha_bar) x0 + sqrt(1 - alpha_bar) noise, of the broadcast shape."""
    kept = alpha_bar(timestep)
    noisy: Tensor = kept**0.5 * latents + (1 - kept) ** 0.5 * noise
    return noisy


def gaussian(*shape: int, seed: int) -> Tensor:
    """Draw N(0, 1) noise in float32 on the CPU: the same numbers whatever device reads them."""
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))
