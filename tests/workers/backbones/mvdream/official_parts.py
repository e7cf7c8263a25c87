"""The autoencoder and the text encoder as the official code lays them out, in plain torch on the official names.

Written for comparison, from arXiv 2112.10752 and OpenCLIP's published description; it shares nothing with diffusers.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import conv2d, gelu, group_norm, interpolate, layer_norm, linear, pad, silu

GROUPS, EPS = 32, 1e-6
LEVELS = 4


@dataclass(frozen=True)
class OfficialVae:
    """The autoencoder."""

    weights: Mapping[str, Tensor]

    def moments(self, x: Tensor) -> Tensor:
        """Mean and log-variance (N, 8, h / 8, w / 8) of pictures (N, 3, h, w) in [-1, 1]."""
        x = self._conv("encoder.conv_in", x)
        for level in range(LEVELS):
            x = self._level(f"encoder.down.{level}", x)
            if level < LEVELS - 1:
                x = self._conv(f"encoder.down.{level}.downsample.conv", pad(x, (0, 1, 0, 1)), stride=2, padding=0)
        return self._conv("quant_conv", self._end("encoder", self._middle("encoder", x)))

    def decoded(self, z: Tensor) -> Tensor:
        """Pictures (N, 3, 8 h, 8 w) of latents (N, 4, h, w)."""
        x = self._middle("decoder", self._conv("decoder.conv_in", self._conv("post_quant_conv", z)))
        for level in reversed(range(LEVELS)):
            x = self._level(f"decoder.up.{level}", x)
            if level > 0:
                x = self._conv(f"decoder.up.{level}.upsample.conv", interpolate(x, scale_factor=2, mode="nearest"))
        return self._end("decoder", x)

    def _level(self, name: str, x: Tensor) -> Tensor:
        layer = 0
        while f"{name}.block.{layer}.conv1.weight" in self.weights:
            x = self._resnet(f"{name}.block.{layer}", x)
            layer += 1
        return x

    def _middle(self, half: str, x: Tensor) -> Tensor:
        x = self._attention(f"{half}.mid.attn_1", self._resnet(f"{half}.mid.block_1", x))
        return self._resnet(f"{half}.mid.block_2", x)

    def _end(self, half: str, x: Tensor) -> Tensor:
        return self._conv(f"{half}.conv_out", silu(self._normed(f"{half}.norm_out", x)))

    def _resnet(self, name: str, x: Tensor) -> Tensor:
        hidden = self._conv(f"{name}.conv1", silu(self._normed(f"{name}.norm1", x)))
        hidden = self._conv(f"{name}.conv2", silu(self._normed(f"{name}.norm2", hidden)))
        skip = f"{name}.nin_shortcut"
        return hidden + (self._conv(skip, x) if f"{skip}.weight" in self.weights else x)

    def _attention(self, name: str, x: Tensor) -> Tensor:
        normed = self._normed(f"{name}.norm", x)
        query, key, value = (self._conv(f"{name}.{part}", normed).flatten(2) for part in "qkv")
        attention = (query.transpose(1, 2) @ key / math.sqrt(x.shape[1])).softmax(dim=-1)
        return x + self._conv(f"{name}.proj_out", (value @ attention.transpose(1, 2)).view_as(x))

    def _conv(self, name: str, x: Tensor, *, stride: int = 1, padding: int | None = None) -> Tensor:
        weight = self.weights[f"{name}.weight"]
        given = weight.shape[-1] // 2 if padding is None else padding
        return conv2d(x, weight, self.weights[f"{name}.bias"], stride=stride, padding=given)

    def _normed(self, name: str, x: Tensor) -> Tensor:
        return group_norm(x, GROUPS, self.weights[f"{name}.weight"], self.weights[f"{name}.bias"], EPS)


@dataclass(frozen=True)
class OfficialText:
    """OpenCLIP's text encoder up to the block before its last, with its last norm."""

    weights: Mapping[str, Tensor]
    heads: int

    def __call__(self, ids: Tensor) -> Tensor:
        """States (N, L, D) of ids (N, L)."""
        x = self.weights["token_embedding.weight"][ids] + self.weights["positional_embedding"]
        layer = 0
        while f"transformer.resblocks.{layer + 1}.ln_1.weight" in self.weights:
            x = self._block(f"transformer.resblocks.{layer}", x)
            layer += 1
        return self._normed("ln_final", x)

    def _block(self, name: str, x: Tensor) -> Tensor:
        joint = self._linear(f"{name}.attn.in_proj_", self._normed(f"{name}.ln_1", x))
        query, key, value = (part.unflatten(-1, (self.heads, -1)).transpose(1, 2) for part in joint.chunk(3, dim=-1))
        hidden = torch.ones(x.shape[1], x.shape[1]).triu(1).bool()
        scores = (query @ key.transpose(-1, -2) / math.sqrt(query.shape[-1])).masked_fill(hidden, -math.inf)
        attended = (scores.softmax(dim=-1) @ value).transpose(1, 2).flatten(2)
        x = x + self._linear(f"{name}.attn.out_proj.", attended)
        widened = gelu(self._linear(f"{name}.mlp.c_fc.", self._normed(f"{name}.ln_2", x)))
        return x + self._linear(f"{name}.mlp.c_proj.", widened)

    def _linear(self, name: str, x: Tensor) -> Tensor:
        return linear(x, self.weights[f"{name}weight"], self.weights[f"{name}bias"])

    def _normed(self, name: str, x: Tensor) -> Tensor:
        return layer_norm(x, x.shape[-1:], self.weights[f"{name}.weight"], self.weights[f"{name}.bias"])
