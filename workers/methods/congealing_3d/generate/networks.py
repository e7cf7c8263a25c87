"""What shape generation asks of the diffusion networks; MVDream's are one answer."""

from __future__ import annotations

from typing import Protocol

import torch
from torch import Tensor


class ViewNetworks(Protocol):
    """A latent diffusion model that knows groups of views of one object, frozen."""

    @property
    def alphas_cumprod(self) -> Tensor:
        """(T,), the share of the signal's power that is left at each time."""

    def encode(self, rgb: Tensor, generator: torch.Generator) -> Tensor:
        """Draw scaled latents (N, 4, h / 8, w / 8) of pictures (N, 3, h, w) in [0, 1]; differentiable."""

    def text(self, prompts: list[str]) -> Tensor:
        """Embed prompts, (N, L, D)."""

    def text_with(self, token: Tensor, template: str) -> Tensor:
        """Embed a prompt (1, L, D) in which `{}` stands for k learned words (k, D); differentiable in them."""

    def noise(self, z_t: Tensor, t: Tensor, text: Tensor, conditions: Tensor | None, views: int) -> Tensor:
        """Predict the noise in latents.

        Args:
            z_t: (N, 4, h, w), the views of a group side by side.
            t: (N,) or () int64 times.
            text: (N, L, D).
            conditions: (N, 16) camera conditions, or None for pictures that are no views of one object.
            views: in a group; 1 without conditions.

        Returns:
            The shape and precision of `z_t`.
        """

    def word(self, text: str) -> Tensor:
        """The vector (D,) of a word, to begin learning from."""
