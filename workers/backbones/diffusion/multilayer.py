"""Diffusion features of three decoder levels, as in Telling Left from Right (arXiv 2311.17034), with plain diffusers.

The official code conditions on a captioner of its own; here a prompt takes its place.
"""

from typing import NamedTuple

import torch
from torch import Tensor

from api_schemas.backbones import FeatureOptions, completed
from workers.backbones.base import Backbone, Tick, cells_of, check_images, no_tick, spread
from workers.backbones.diffusion.canvas import on_canvas
from workers.backbones.diffusion.freeu import FreeU
from workers.backbones.diffusion.schedule import gaussian, noised
from workers.backbones.diffusion.stable_diffusion import StableDiffusion
from workers.backbones.diffusion.tiling import TILE, Tiling
from workers.backbones.diffusion.vae import LATENT_CHANNELS, LATENT_STRIDE
from workers.backbones.identity import identity, settled

SEED = 42
_S3, _S4, _S5 = 8, 5, 2
_STRIDES = {_S3: 16, _S4: 32, _S5: 64}


class Blocks(NamedTuple):
    """Hidden states that cover a canvas, sides multiples of 64 pixels, on cells of 16, 32 and 64 pixels."""

    s3: Tensor
    """(N, 640, 4 h, 4 w) float32."""
    s4: Tensor
    """(N, 1280, 2 h, 2 w) float32."""
    s5: Tensor
    """(N, 1280, h, w) float32."""


class SdBackbone(Backbone):
    """Three levels of the decoder, at little noise and one fixed draw of it."""

    def __init__(self, diffusion: StableDiffusion, options: FeatureOptions) -> None:
        """Read `diffusion` as the options say.

        Args:
            diffusion: loaded; may serve other backbones too.
            options: prompt, timestep, and whether states are amplified (see `freeu`); what is left out takes the
                backbone's own value.

        Raises:
            ValueError: an option does not fit.
        """
        self.name = "sd15"
        self.options = completed(self.name, options)
        self._timestep, self._prompt = settled(self.options.timestep), settled(self.options.prompt)
        self._diffusion = diffusion
        self._freeu = FreeU.of_widths(diffusion.widths) if settled(self.options.freeu) else None
        self.stride = 16
        self.dim = sum(diffusion.widths[1:])
        self.identity = identity(self.name, self.options, digest=diffusion.digest, dtype=diffusion.compute.dtype)
        diffusion.prompts.embed(self._prompt)

    @property
    def block_channels(self) -> tuple[int, ...]:
        """Channels of s3, s4 and s5: 640, 1280, 1280."""
        return self._diffusion.widths[1:]

    def extract(self, images: Tensor, *, tick: Tick = no_tick) -> Tensor:
        """Describe images; see `Backbone.extract`. Channels are s3, s4, s5 (640 + 1280 + 1280), not normalised."""
        blocks = self.blocks(images, tick=tick)
        cells = cells_of(images, self.stride)
        return torch.cat([spread(block, cells) for block in blocks], dim=1)

    @torch.no_grad()
    def blocks(self, images: Tensor, *, tick: Tick = no_tick) -> Blocks:
        """Describe images (N, 3, H, W) by each level on its own grid.

        Images are resized to the nearest multiples of 64 pixels; what is larger than 512 pixels is read in tiles.

        Raises:
            ValueError: the images cannot be described; says why.
        """
        check_images(images)
        canvases = on_canvas(images)
        tiling = Tiling(*canvases.shape[-2:])
        latents = self._diffusion.posterior(tiling.cut(canvases), tick=tick).mean
        noisy = noised(latents, _fixed_noise(latents), self._timestep)
        states = self._diffusion.read(
            noisy, self._timestep, self._prompt, places=_STRIDES, freeu=self._freeu, tick=tick
        )
        return Blocks(*(tiling.merge(states[place], stride) for place, stride in _STRIDES.items()))


def _fixed_noise(latents: Tensor) -> Tensor:
    """The same noise for every tile.

    Of a smaller one the corner: the official code would resize the noise, which lowers its deviation, to 0.72 at half
    the size, where the network was trained on 1.
    """
    side = TILE // LATENT_STRIDE
    noise = gaussian(1, LATENT_CHANNELS, side, side, seed=SEED)
    return noise[..., : latents.shape[-2], : latents.shape[-1]].to(latents.device)
