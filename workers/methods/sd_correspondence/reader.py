"""What the method asks of a network; `AttentionReader` is Stable Diffusion's answer."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Protocol

import torch
from torch import Tensor

from workers.backbones.base import Tick, no_tick


class Reader(Protocol):
    """Pictures to latents, noisy latents and contexts to what layers attend with, and that to attention."""

    low_memory: bool
    """Whether activations are computed again on the way back instead of kept."""

    @property
    def identity(self) -> str:
        """Tells apart any two networks that may attend differently."""

    @property
    def embedding_shape(self) -> tuple[int, int]:
        """Tokens and channels of a context."""

    @property
    def device(self) -> torch.device:
        """Where it computes."""

    def latent_shape(self, size: int) -> tuple[int, ...]:
        """Shape of the latents of one picture of `size` pixels a side."""

    def encode(self, pictures: Tensor, *, tick: Tick = no_tick) -> Tensor:
        """Latents (N, ...) of pictures (N, 3, S, S) in [0, 1]."""

    def features(
        self, noisy: Tensor, timestep: int, contexts: Tensor, owners: Tensor, *, tick: Tick = no_tick
    ) -> list[Tensor]:
        """Per layer queries (B, H, n, d) of contexts (B, 77, D), each with the latents that `owners` (B,) names."""

    def attend(self, features: Sequence[Tensor], embeddings: Tensor, tokens: int) -> list[Tensor]:
        """Per layer attention (B, tokens, s, s) in [0, 1] of embeddings (B, 77, D) to tokens 1 to `tokens`."""


def generator(*facts: object) -> torch.Generator:
    """Random numbers that depend on these facts alone, drawn on the CPU: the same on every device."""
    digest = hashlib.sha256(repr(facts).encode()).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest[:8], "little") >> 1)
