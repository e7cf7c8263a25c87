"""Diffusion features of one decoder block: DIFT (arXiv 2306.03881)."""

import torch
from torch import Tensor

from api_schemas.backbones import FeatureOptions, completed
from workers.backbones.base import Backbone, Tick, cells_of, check_images, no_tick, spread
from workers.backbones.diffusion.canvas import on_canvas
from workers.backbones.diffusion.schedule import gaussian, noised
from workers.backbones.diffusion.stable_diffusion import StableDiffusion
from workers.backbones.diffusion.unet import STEPS_A_BLOCK
from workers.backbones.identity import identity, settled

SEED = 42
_STRIDES = (32, 16, 8, 8)


class DiftBackbone(Backbone):
    """The output of a decoder block, averaged over draws of the latent and of the noise."""

    def __init__(self, diffusion: StableDiffusion, options: FeatureOptions) -> None:
        """Read `diffusion` as the options say.

        Args:
            diffusion: loaded; may serve other backbones too.
            options: layer (the decoder's block, 0 to 3), prompt, timestep, ensemble; what is left out takes the
                paper's value.

        Raises:
            ValueError: an option does not fit.
        """
        self.name = "sd15_dift"
        self.options = completed(self.name, options)
        self._layer, self._timestep = settled(self.options.layer), settled(self.options.timestep)
        self._ensemble, self._prompt = settled(self.options.ensemble), settled(self.options.prompt)
        self._diffusion = diffusion
        self.stride = _STRIDES[self._layer]
        self.dim = diffusion.widths[-1 - self._layer]
        self.identity = identity(self.name, self.options, digest=diffusion.digest, dtype=diffusion.compute.dtype)
        diffusion.prompts.embed(self._prompt)

    @torch.no_grad()
    def extract(self, images: Tensor, *, tick: Tick = no_tick) -> Tensor:
        """Describe images; see `Backbone.extract`. Vectors are not normalised.

        Images are resized to the nearest multiples of 64 pixels and described in one piece.
        """
        check_images(images)
        canvases = on_canvas(images)
        features = [self._described(batch, tick) for batch in self._diffusion.compute.batches(canvases)]
        return spread(torch.cat(features), cells_of(images, self.stride))

    def _described(self, canvases: Tensor, tick: Tick) -> Tensor:
        """Features (N, C, h, w) of a few canvases, each encoded once and drawn `ensemble` times."""
        mean, std = self._diffusion.posterior(canvases, tick=tick)
        # Every image gets the same draws, so that none depends on the others; fewer members get the first of them.
        draws = gaussian(self._ensemble, 2, *mean.shape[1:], seed=SEED).to(mean.device)
        latents = mean[:, None] + std[:, None] * draws[:, 0]
        members = noised(latents, draws[:, 1], self._timestep).flatten(0, 1)
        place = STEPS_A_BLOCK * (self._layer + 1)
        states = self._diffusion.read(members, self._timestep, self._prompt, places=[place], tick=tick)[place]
        return states.reshape(-1, self._ensemble, *states.shape[1:]).mean(dim=1)
