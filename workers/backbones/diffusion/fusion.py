"""Diffusion features joined with a transformer's, without training (arXiv 2305.15347, arXiv 2311.17034)."""

from collections.abc import Sequence
from math import ceil

import torch
from torch import Tensor
from torch.nn.functional import normalize

from workers.backbones.base import MAX_ASPECT, MIN_SIDE, Backbone, Tick, cells_of, check_images, no_tick, spread
from workers.backbones.diffusion.canvas import resized_images
from workers.backbones.diffusion.multilayer import SdBackbone

_EPSILON = 1e-10


class SdDinoBackbone(Backbone):
    """Unit vectors whose similarity is the mean of both parts' cosines."""

    def __init__(self, diffusion: SdBackbone, transformer: Backbone) -> None:
        """Join two backbones.

        Args:
            diffusion: gives the grid.
            transformer: DINOv2's last tokens at stride 14 in the papers; any other is resized to the same grid too.
        """
        self.name = "sd15+dinov2_vitb14"
        self.options = diffusion.options
        self.stride = diffusion.stride
        self.dim = diffusion.dim + transformer.dim
        self.identity = f"{self.name} ({diffusion.identity}) ({transformer.identity})"
        self._diffusion, self._transformer = diffusion, transformer

    def extract(self, images: Tensor, *, tick: Tick = no_tick) -> Tensor:
        """Describe images; see `Backbone.extract`. Vectors have length 1."""
        return fused(self.stack(images, tick=tick), self._diffusion.dim)

    @property
    def block_channels(self) -> tuple[int, ...]:
        """Channels of s3, s4, s5 and the tokens: 640, 1280, 1280, 768."""
        return (*self._diffusion.block_channels, self._transformer.dim)

    def blocks(self, images: Tensor, *, tick: Tick = no_tick) -> tuple[Tensor, ...]:
        """Describe images by s3, s4, s5 and tokens, each on its own grid; see `Backbone.blocks`."""
        check_images(images)
        return (*self._diffusion.blocks(images, tick=tick), self._tokens(images, tick))

    def joined(self, blocks: Sequence[Tensor], cells: tuple[int, int]) -> Tensor:
        """Make of `blocks` what `extract` gives, on another grid; see `Backbone.joined`."""
        return fused(super().joined(blocks, cells), self._diffusion.dim)

    def stack(self, images: Tensor, *, tick: Tick = no_tick) -> Tensor:
        """Describe images by the raw channels of both: s3, s4, s5, tokens (3200 + 768), as adapters take them."""
        check_images(images)
        described = self._diffusion.extract(images, tick=tick)
        return torch.cat([described, spread(self._tokens(images, tick), cells_of(images, self.stride))], dim=1)

    def _tokens(self, images: Tensor, tick: Tick) -> Tensor:
        size = self._transformer_size(*cells_of(images, self.stride))
        return self._transformer.extract(resized_images(images, size), tick=tick)

    def _transformer_size(self, rows: int, columns: int) -> tuple[int, int]:
        """Pixels for one token a cell; for more where so few pixels, or so long and thin, would be refused."""
        stride = self._transformer.stride
        least = ceil(MIN_SIDE / stride)
        return (
            stride * max(rows, least, ceil(columns / MAX_ASPECT)),
            stride * max(columns, least, ceil(rows / MAX_ASPECT)),
        )


def fused(stacked: Tensor, first: int) -> Tensor:
    """Normalise the first channels of (N, C, h, w) and the others, each by themselves, then all together."""
    parts = stacked.tensor_split([first], dim=1)
    return normalize(torch.cat([normalize(part, dim=1, eps=_EPSILON) for part in parts], dim=1), dim=1, eps=_EPSILON)
