"""The loaded networks of Stable Diffusion, 1.x or 2.x, without its text encoder."""

from dataclasses import dataclass

import torch
from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel
from torch import Tensor

from workers.backbones.base import Compute, Tick, no_tick
from workers.backbones.diffusion.vae import Posterior, VaeEncoder


@dataclass(frozen=True)
class DiffusionNetworks:
    """The U-Net and the autoencoder's encoder, frozen.

    Attributes:
        name: entry of the weights catalogue.
        digest: SHA-256 over the weights files, in hex.
        compute: where and how the U-Net and the autoencoder run.
        unet: without its output convolution, which nothing here reads.
        vae: the autoencoder's encoder.
    """

    name: str
    digest: str
    compute: Compute
    unet: UNet2DConditionModel
    vae: VaeEncoder

    @property
    def widths(self) -> tuple[int, ...]:
        """Channels of the U-Net's four levels, finest first: (320, 640, 1280, 1280)."""
        return tuple(self.unet.config["block_out_channels"])

    def posterior(self, images: Tensor, *, tick: Tick = no_tick) -> Posterior:
        """Encode images (N, 3, H, W) in [0, 1], sides multiples of 64, a few at a time."""
        parts = [self.vae.posterior(batch, tick=tick) for batch in self.compute.batches(images)]
        return Posterior(torch.cat([part.mean for part in parts]), torch.cat([part.std for part in parts]))
