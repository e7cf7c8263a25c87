"""One step of score distillation with reconstruction (MVDream, arXiv 2308.16512), and the plain one (DreamFusion)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from workers.methods.congealing_3d.generate.networks import ViewNetworks
from workers.methods.congealing_3d.generate.schedule import VIEWS

NEGATIVE_PROMPT = (
    "ugly, bad anatomy, blurry, pixelated obscure, unnatural colors, poor lighting, dull, and unclear, cropped, "
    "lowres, low quality, artifacts, duplicate, morbid, mutilated, poorly drawn face, deformed, dehydrated, "
    "bad proportions"
)
_EPS = 1e-8

Kind = Literal["reconstruction", "score"]


@dataclass(frozen=True)
class Guidance:
    """How the predicted noise becomes a loss."""

    kind: Kind = "reconstruction"
    """`score` is plain score distillation, for comparison."""
    scale: float = 50.0
    """Of classifier-free guidance."""
    rescale: float = 0.5
    """Share of the reconstruction that is given the contrast of the unguided one."""


@dataclass(frozen=True)
class Prompts:
    """Embedded prompts (1, L, D): what the views shall show, and what they shall not."""

    wanted: Tensor
    unwanted: Tensor


def noised(latents: Tensor, noise: Tensor, left: Tensor) -> Tensor:
    """Latents (N, 4, h, w) with noise, `left` () of the signal's power."""
    return left.sqrt() * latents + (1 - left).sqrt() * noise


@torch.no_grad()
def predicted(
    networks: ViewNetworks, noisy: Tensor, t: Tensor, prompts: Prompts, conditions: Tensor
) -> tuple[Tensor, Tensor]:
    """Noise (N, 4, h, w) predicted for the wanted and for the unwanted prompt, of the dtype of `noisy`."""
    count = len(noisy)
    text = torch.cat([prompts.wanted.expand(count, -1, -1), prompts.unwanted.expand(count, -1, -1)])
    doubled = torch.cat([noisy, noisy])
    both = networks.noise(doubled, t.expand(2 * count), text, torch.cat([conditions, conditions]), VIEWS)
    wanted, unwanted = both.chunk(2)
    return wanted, unwanted


def guided(wanted: Tensor, unwanted: Tensor, scale: float) -> Tensor:
    """Classifier-free guidance."""
    return unwanted + scale * (wanted - unwanted)


def rescale_factors(reconstruction: Tensor, unguided: Tensor) -> Tensor:
    """Ratio (G,) of the standard deviations of reconstructions (G V, ...), the unguided over the guided one's."""

    def deviation(values: Tensor) -> Tensor:
        return values.reshape(len(values) // VIEWS, -1).std(dim=1) + _EPS

    return deviation(unguided) / deviation(reconstruction)


def target(noisy: Tensor, wanted: Tensor, unwanted: Tensor, left: Tensor, guidance: Guidance) -> Tensor:
    """What the latents should have been (N, 4, h, w), from the noise predicted for both prompts."""
    found = _clean(noisy, guided(wanted, unwanted, guidance.scale), left)
    if guidance.rescale == 0:
        return found
    factors = rescale_factors(found, _clean(noisy, wanted, left)).repeat_interleave(VIEWS)
    return guidance.rescale * factors.view(-1, 1, 1, 1) * found + (1 - guidance.rescale) * found


def reconstruction_loss(latents: Tensor, aim: Tensor) -> Tensor:
    """Half the squared distance of latents from their aim, per picture; its gradient is (latents - aim) / N."""
    return 0.5 * (latents - aim.detach()).square().sum() / len(latents)


def score_aim(latents: Tensor, noise: Tensor, predicted_noise: Tensor, left: Tensor) -> Tensor:
    """The aim for which `reconstruction_loss` has the gradient of plain score distillation, weight 1 - left."""
    gradient = ((1 - left) * (predicted_noise - noise)).nan_to_num()
    return (latents - gradient).detach()


def distillation_loss(
    networks: ViewNetworks,
    latents: Tensor,
    noise: Tensor,
    t: int,
    prompts: Prompts,
    conditions: Tensor,
    guidance: Guidance,
) -> Tensor:
    """Loss () whose gradient draws the latents of groups of views to what the prompt describes.

    Args:
        networks: the diffusion model; no gradient goes through it.
        latents: (N, 4, h, w), `VIEWS` of a group side by side.
        noise: as large, normal.
        t: time.
        prompts: embedded.
        conditions: (N, 16) of the cameras.
        guidance: settings.
    """
    left = networks.alphas_cumprod[t].to(latents)
    noisy = noised(latents.detach(), noise, left)
    time = torch.tensor(t, device=latents.device)
    wanted, unwanted = predicted(networks, noisy, time, prompts, conditions)
    if guidance.kind == "score":
        aim = score_aim(latents, noise, guided(wanted, unwanted, guidance.scale), left)
    else:
        aim = target(noisy, wanted, unwanted, left, guidance)
    return reconstruction_loss(latents, aim)


def _clean(noisy: Tensor, noise: Tensor, left: Tensor) -> Tensor:
    return (noisy - (1 - left).sqrt() * noise) / left.sqrt()
