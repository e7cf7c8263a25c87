"""What each piece of the work costs on Stable Diffusion 1.4 at 512 pixels, counted by torch on tensors without data."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeVar

import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from api_schemas.methods.sd_correspondence import FRAME
from benchmarks.sd_correspondence.networks import real_networks
from workers.backbones.base import Compute
from workers.backbones.diffusion.attention import TOKENS, AttentionReader
from workers.evaluation.official_prompts import OfficialNetwork, peak_loss
from workers.methods.sd_correspondence.peaks import PeakLoss

T = TypeVar("T")

_META = torch.device("meta")
_WIDTH = 768
_TIMESTEP = 140
_SIGMA = 28.0


@dataclass(frozen=True)
class Pieces:
    """GFLOP, two operations a multiply-add, of one crop and one embedding."""

    encode: float
    """A crop through the autoencoder."""
    prefix: float
    """The U-Net up to the first look at an embedding: once for all embeddings that share a noisy crop."""
    features: float
    """The U-Net up to the last layer that is read, `prefix` included."""
    attend: float
    """Attention of these layers to an embedding."""
    back: float
    """The way back through both to the embedding."""
    fixed_step: float
    """Attention to an embedding and the way back where features are fixed."""
    official_forward: float
    """The whole U-Net, as the official code runs it."""
    official_back: float
    """The way back from the loss of the official code."""


def count_pieces() -> Pieces:
    """Count all of them."""
    networks = real_networks(Compute(device=_META))
    reader, official = AttentionReader(networks), OfficialNetwork(networks.unet, networks.vae)
    latents, prompt = _empty(1, 4, FRAME // 8, FRAME // 8), _empty(1, TOKENS, _WIDTH).requires_grad_()
    maps, official_forward = _counted(lambda: official.attention(latents, _TIMESTEP, prompt, FRAME))
    _, official_back = _counted(lambda: torch.autograd.grad(peak_loss(maps, (0.5, 0.5), _SIGMA), prompt))
    found, features = _counted(lambda: _features(reader, latents, prompt))
    _, of_two = _counted(lambda: _features(reader, latents, prompt.expand(2, -1, -1)))
    attention, attend = _counted(lambda: reader.attend(found, prompt, 1))
    fixed = reader.attend([layer.detach() for layer in found], prompt, 1)
    return Pieces(
        encode=_counted(lambda: reader.encode(_empty(1, 3, FRAME, FRAME)))[1],
        prefix=2 * features - of_two,
        features=features,
        attend=attend,
        back=_counted(lambda: _returned(attention, prompt))[1],
        fixed_step=attend + _counted(lambda: _returned(fixed, prompt))[1],
        official_forward=official_forward,
        official_back=official_back,
    )


def _features(reader: AttentionReader, latents: Tensor, prompts: Tensor) -> list[Tensor]:
    return reader.features(latents, _TIMESTEP, prompts, torch.zeros(len(prompts), dtype=torch.long, device=_META))


def _returned(maps: Sequence[Tensor], prompt: Tensor) -> Tensor:
    loss = PeakLoss(FRAME, _SIGMA, half_pixel=True)(maps, _empty(1, 1, 2))
    (gradient,) = torch.autograd.grad(loss.sum(), prompt)
    return gradient


def _counted(work: Callable[[], T]) -> tuple[T, float]:
    """What work gives and its GFLOP."""
    counter = FlopCounterMode(display=False)
    with counter:
        result = work()
    return result, counter.get_total_flops() / 1e9


def _empty(*shape: int) -> Tensor:
    return torch.empty(shape, device=_META)
