"""Pictures whose colours are their canonical coordinates, and a network that attends to them: exact ground truth.

A picture's red and green at a place p in [0, 1]^2 are A p + b, so a point q of the picture with A = 1 and b = 0 lies
at A^-1 (q - b) in another. The stand-in for the autoencoder averages 8 x 8 pixels; the stand-in for the U-Net turns
the coordinates into random Fourier features, to which random keys of an embedding attend.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn.functional import adaptive_avg_pool2d, avg_pool2d

from workers.backbones.base import Tick, no_tick
from workers.backbones.diffusion.schedule import alpha_bar

SIZE = 512
_STRIDES = (32, 32, 32, 16)
"""Pixels of the picture to a cell of each layer, as in Stable Diffusion."""
_HEADS, _CHANNELS, _WIDTH = 8, 32, 768
_GAIN = 20.0


def canonical_picture(matrix: npt.NDArray[np.float64], offset: npt.NDArray[np.float64], size: int = SIZE) -> Tensor:
    """Picture (3, size, size) whose red and green are `matrix` p + `offset` at each place p in [0, 1]^2."""
    centres = (torch.arange(size, dtype=torch.float64) + 0.5) / size
    rows, columns = torch.meshgrid(centres, centres, indexing="ij")
    places = torch.stack([columns, rows], dim=-1) @ torch.from_numpy(matrix).T + torch.from_numpy(offset)
    blue = torch.full((size, size, 1), 0.5, dtype=torch.float64)
    return torch.cat([places, blue], dim=-1).permute(2, 0, 1).float()


class CanonicalReader:
    """A network that sees canonical coordinates; see `workers.methods.sd_correspondence.reader.Reader`."""

    def __init__(self, *, frequency: float = 6.0, seed: int = 0) -> None:
        """Draw the features.

        Args:
            frequency: larger tells places apart more finely.
            seed: of all weights.
        """
        draw = torch.Generator().manual_seed(seed)
        self.identity = f"canonical frequency={frequency} seed={seed}"
        self.low_memory = False
        self.embedding_shape = (77, _WIDTH)
        self.device = torch.device("cpu")
        self._waves = [frequency * torch.randn(_HEADS, 2, _CHANNELS, generator=draw) for _ in _STRIDES]
        self._phases = [2 * math.pi * torch.rand(_HEADS, 1, _CHANNELS, generator=draw) for _ in _STRIDES]
        self._keys = [torch.randn(_HEADS * _CHANNELS, _WIDTH, generator=draw) / math.sqrt(_WIDTH) for _ in _STRIDES]

    def latent_shape(self, size: int) -> tuple[int, ...]:
        """Of one picture."""
        return (4, size // 8, size // 8)

    def encode(self, pictures: Tensor, *, tick: Tick = no_tick) -> Tensor:
        """Means of 8 x 8 pixels: red, green, blue, red."""
        tick()
        return _GAIN * avg_pool2d(pictures, 8)[:, [0, 1, 2, 0]]

    def features(
        self,
        noisy: Tensor,
        timestep: int,
        contexts: Tensor,  # noqa: ARG002
        owners: Tensor,
        *,
        tick: Tick = no_tick,
    ) -> list[Tensor]:
        """Fourier features of the coordinates; no context changes them. Noise shifts them alike at all timesteps."""
        tick()
        places = noisy[:, :2] / (_GAIN * math.sqrt(alpha_bar(timestep)))
        found = []
        for waves, phases, stride in zip(self._waves, self._phases, _STRIDES, strict=True):
            cells = adaptive_avg_pool2d(places, 8 * noisy.shape[-1] // stride).flatten(2).transpose(1, 2)
            queries = math.sqrt(2) * torch.cos(cells[:, None] @ waves + phases)
            found.append(queries[owners, _HEADS // 2 :])
        return found

    def attend(self, features: Sequence[Tensor], embeddings: Tensor, tokens: int) -> list[Tensor]:
        """Attention of the second half of the heads to the tokens 1 to `tokens`."""
        maps = []
        for queries, weights in zip(features, self._keys, strict=True):
            projected = embeddings @ weights.T
            keys = projected.reshape(*projected.shape[:2], _HEADS, _CHANNELS).transpose(1, 2)[:, _HEADS // 2 :]
            shares = (queries @ keys.transpose(-1, -2) / math.sqrt(_CHANNELS)).softmax(-1)
            chosen = shares[..., 1 : 1 + tokens].mean(1).transpose(1, 2)
            side = round(chosen.shape[-1] ** 0.5)
            maps.append(chosen.reshape(*chosen.shape[:2], side, side))
        return maps
