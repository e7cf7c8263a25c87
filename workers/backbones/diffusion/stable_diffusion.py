"""The loaded parts of Stable Diffusion and how batches go through them."""

from collections import defaultdict
from collections.abc import Collection
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from workers.backbones.base import Tick, no_tick
from workers.backbones.diffusion.freeu import FreeU
from workers.backbones.diffusion.networks import DiffusionNetworks
from workers.backbones.diffusion.prompts import PromptEncoder
from workers.backbones.diffusion.unet import read_unet
from workers.backbones.diffusion.vae import LATENT_STRIDE


@dataclass(frozen=True)
class StableDiffusion(DiffusionNetworks):
    """The parts of Stable Diffusion that features need, frozen.

    Attributes:
        prompts: tokenizer and text encoder.
    """

    prompts: PromptEncoder

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
