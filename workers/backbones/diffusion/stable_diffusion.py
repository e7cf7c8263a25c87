"""The loaded parts of Stable Diffusion and how batches go through them."""

from collections import defaultdict
from collections.abc import Collection
from dataclasses import dataclass, replace

import torch
from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel
from torch import Tensor

from workers.backbones.base import Compute, Tick, no_tick
from workers.backbones.diffusion.freeu import FreeU
from workers.backbones.diffusion.prompts import PromptEncoder
from workers.backbones.diffusion.unet import read_unet
from workers.backbones.diffusion.vae import LATENT_STRIDE, Posterior, VaeEncoder


@dataclass(frozen=True)
class StableDiffusion:
    """The parts of Stable Diffusion 1.x that features need, frozen.

    Attributes:
        name: entry of the weights catalogue.
        digest: SHA-256 over the weights files, in hex.
        compute: where and how the U-Net and the autoencoder run.
        unet: without its output convolution, which no feature reads.
        vae: the autoencoder's encoder.
        prompts: tokenizer and text encoder.
    """

    name: str
    digest: str
    compute: Compute
    unet: UNet2DConditionModel
    vae: VaeEncoder
    prompts: PromptEncoder

    @property
    def widths(self) -> tuple[int, ...]:
        """Channels of the U-Net's four levels, finest first: (320, 640, 1280, 1280)."""
        return tuple(self.unet.config["block_out_channels"])

    def posterior(self, images: Tensor, *, tick: Tick = no_tick) -> Posterior:
        """Encode images (N, 3, H, W) in [0, 1], sides multiples of 64, a few at a time."""
        parts = [self.vae.posterior(batch, tick=tick) for batch in self.compute.batches(images)]
        return Posterior(torch.cat([part.mean for part in parts]), torch.cat([part.std for part in parts]))

    def read(
        self,
        latents: Tensor,
        timestep: int,
        prompt: str,
        *,
        places: Collection[int],
        freeu: FreeU | None = None,
        tick: Tick = no_tick,
    ) -> dict[int, Tensor]:
        """Run noisy latents (N, 4, h, w) through the U-Net, a few at a time; see `unet.read_unet`.

        Returns:
            Place to hidden state (N, C, h', w'), float32.
        """
        context = self.prompts.embed(prompt).to(self.compute.device, self.compute.dtype)
        by_latents = replace(self.compute, batch_pixels=self.compute.batch_pixels // LATENT_STRIDE**2)
        parts: defaultdict[int, list[Tensor]] = defaultdict(list)
        for batch in by_latents.batches(latents.to(self.compute.dtype)):
            states = read_unet(self.unet, batch, timestep, context, places=places, freeu=freeu, tick=tick)
            for place, state in states.items():
                parts[place].append(state.float())
        return {place: torch.cat(states) for place, states in parts.items()}
