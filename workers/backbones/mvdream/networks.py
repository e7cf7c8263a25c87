"""The loaded networks of MVDream and what is asked of them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from workers.backbones.base import Compute
from workers.backbones.diffusion.schedule import TRAIN_STEPS, alpha_bar
from workers.backbones.mvdream.cross_view import require_cross_view

if TYPE_CHECKING:
    from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL
    from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel

    from workers.backbones.mvdream.text import TextEncoder


@dataclass(frozen=True)
class MvdreamNetworks:
    """U-Net, autoencoder and text encoder, frozen; gradients pass through to what goes in.

    Attributes:
        name: entry of the weights catalogue.
        digest: SHA-256 over the weights files, in hex.
        compute: where all run, and the U-Net's precision; the other two run in float32 (see `vae.VaeEncoder`).
        unet: predicts noise; its self-attentions see all views of a group.
        vae: the autoencoder, both halves.
        text_encoder: prompts to the U-Net's context.
    """

    name: str
    digest: str
    compute: Compute
    unet: UNet2DConditionModel
    vae: AutoencoderKL
    text_encoder: TextEncoder

    @property
    def context_width(self) -> int:
        """Channels D of the text's states and of learned vectors; 1024."""
        return self.text_encoder.width

    @cached_property
    def alphas_cumprod(self) -> Tensor:
        """Share of the signal's variance that is left at each timestep, (1000,) float32, on the device."""
        return torch.tensor([alpha_bar(timestep) for timestep in range(TRAIN_STEPS)], device=self.compute.device)

    def encode(self, rgb: Tensor, generator: torch.Generator) -> Tensor:
        """Draw latents (N, 4, h / 8, w / 8) of pictures, as the U-Net expects them; differentiable.

        Args:
            rgb: (N, 3, h, w) in [0, 1], sides multiples of 8.
            generator: on any device; the same state gives the same draw.
        """
        posterior = self.vae.encode((2 * rgb - 1).to(self.vae.dtype)).latent_dist
        mean: Tensor = posterior.mean
        draw = torch.randn(mean.shape, generator=generator, device=generator.device).to(mean)
        latents: Tensor = float(self.vae.config["scaling_factor"]) * (mean + posterior.std * draw)
        return latents

    @torch.no_grad()
    def decode(self, latents: Tensor) -> Tensor:
        """Pictures (N, 3, 8 h, 8 w) in [0, 1] of latents (N, 4, h, w)."""
        raw: Tensor = self.vae.decode(latents.to(self.vae.dtype) / float(self.vae.config["scaling_factor"])).sample
        return (raw / 2 + 0.5).clamp(0, 1)

    def text(self, prompts: list[str]) -> Tensor:
        """Encode prompts, (N, 77, D); see `TextEncoder.states`."""
        return self.text_encoder.states(prompts)

    def text_with(self, token: Tensor, template: str) -> Tensor:
        """Encode a template with learned vectors (k, D) in place of `{}`, (1, 77, D); see `TextEncoder.states_with`."""
        return self.text_encoder.states_with(token, template)

    def word(self, text: str) -> Tensor:
        """The vector (D,) of a word, from which to begin learning; see `TextEncoder.word`."""
        return self.text_encoder.word(text)

    def noise(
        self, z_t: Tensor, t: int | Tensor, text: Tensor, conditions: Tensor | None = None, views: int = 1
    ) -> Tensor:
        """Predict the noise in noisy latents.

        Args:
            z_t: (groups x views, 4, h, w), the views of a group side by side; sides multiples of 8.
            t: timestep in 0..999, one or (groups x views,).
            text: (groups x views, 77, D), or (1, 77, D) for all.
            conditions: (groups x views, 16), see `camera_conditions`; None for plain pictures, which have no camera.
            views: of a group, which see each other; 1 for plain pictures.

        Returns:
            The shape and type of `z_t`.

        Raises:
            ValueError: the batch is not made of whole groups.
            CrossViewError: something reset the U-Net's attention processors.
        """
        count = len(z_t)
        if count % views:
            raise ValueError(f"{count} latents are no whole groups of {views} views")
        require_cross_view(self.unet).views = views
        dtype = self.unet.dtype
        labels = None if conditions is None else conditions.to(z_t.device, dtype)
        context = text.to(z_t.device, dtype).expand(count, -1, -1)
        with without_cameras(self.unet) if labels is None else nullcontext():
            noise: Tensor = self.unet(z_t.to(dtype), t, context, class_labels=labels).sample
        return noise.to(z_t.dtype)


@contextmanager
def without_cameras(unet: UNet2DConditionModel) -> Iterator[None]:
    """Leave the embedding of cameras out. Zeros would not do: it has biases."""
    embedding = unet.class_embedding
    unet.register_module("class_embedding", None)
    try:
        yield
    finally:
        unet.class_embedding = embedding
