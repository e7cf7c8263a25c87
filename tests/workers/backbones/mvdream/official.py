"""MVDream's U-Net as the official code lays it out, in plain torch on tensors with the official names.

Written for comparison, from arXiv 2308.16512 and the released checkpoint's shapes; it shares nothing with diffusers.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import conv2d, gelu, group_norm, interpolate, layer_norm, linear, silu

GROUPS = 32
INPUT_BLOCKS = OUTPUT_BLOCKS = 12
DOWNSAMPLING = (3, 6, 9)


@dataclass(frozen=True)
class OfficialUnet:
    """The network; `head_width` where it is the same everywhere, else there are 8 heads."""

    weights: Mapping[str, Tensor]
    head_width: int | None

    def __call__(self, x: Tensor, t: int, text: Tensor, camera: Tensor | None, views: int) -> Tensor:
        """Noise in latents (groups x views, 4, h, w), under text (groups x views, L, D) and cameras (.., 16)."""
        embedding = self._two_layers("time_embed", self._timestep(t, len(x)))
        if camera is not None:
            embedding = embedding + self._two_layers("camera_embed", camera)
        skips = []
        for block in range(INPUT_BLOCKS):
            name = f"input_blocks.{block}"
            if block == 0:
                x = self._conv(f"{name}.0", x)
            elif block in DOWNSAMPLING:
                x = self._conv(f"{name}.0.op", x, stride=2)
            else:
                x = self._block(name, x, embedding, text, views)
            skips.append(x)
        x = self._resnet("middle_block.0", x, embedding)
        x = self._transformer("middle_block.1", x, text, views)
        x = self._resnet("middle_block.2", x, embedding)
        for block in range(OUTPUT_BLOCKS):
            name = f"output_blocks.{block}"
            x = self._block(name, torch.cat([x, skips.pop()], dim=1), embedding, text, views)
            for index in (1, 2):
                if f"{name}.{index}.conv.weight" in self.weights:
                    x = self._conv(f"{name}.{index}.conv", interpolate(x, scale_factor=2, mode="nearest"))
        return self._conv("out.2", silu(self._normed("out.0", x, eps=1e-5)))

    def _timestep(self, t: int, count: int) -> Tensor:
        width = self.weights["time_embed.0.weight"].shape[1]
        frequencies = torch.exp(-math.log(10000) * torch.arange(width // 2) / (width // 2))
        angles = (t * frequencies).expand(count, -1)
        return torch.cat([angles.cos(), angles.sin()], dim=1).to(self.weights["out.2.bias"])

    def _block(self, name: str, x: Tensor, embedding: Tensor, text: Tensor, views: int) -> Tensor:
        x = self._resnet(f"{name}.0", x, embedding)
        has_transformer = f"{name}.1.proj_in.weight" in self.weights
        return self._transformer(f"{name}.1", x, text, views) if has_transformer else x

    def _resnet(self, name: str, x: Tensor, embedding: Tensor) -> Tensor:
        hidden = self._conv(f"{name}.in_layers.2", silu(self._normed(f"{name}.in_layers.0", x, eps=1e-5)))
        hidden = hidden + self._linear(f"{name}.emb_layers.1", silu(embedding))[:, :, None, None]
        hidden = self._conv(f"{name}.out_layers.3", silu(self._normed(f"{name}.out_layers.0", hidden, eps=1e-5)))
        skip = f"{name}.skip_connection"
        return hidden + (self._conv(skip, x) if f"{skip}.weight" in self.weights else x)

    def _transformer(self, name: str, x: Tensor, text: Tensor, views: int) -> Tensor:
        batch, _, height, width = x.shape
        hidden = self._normed(f"{name}.norm", x, eps=1e-6).flatten(2).transpose(1, 2)
        hidden = self._linear(f"{name}.proj_in", hidden)
        block = f"{name}.transformer_blocks.0"
        hidden = hidden.reshape(batch // views, views * height * width, -1)
        normed = self._layer_normed(f"{block}.norm1", hidden)
        hidden = hidden + self._attention(f"{block}.attn1", normed, normed)
        hidden = hidden.reshape(batch, height * width, -1)
        hidden = hidden + self._attention(f"{block}.attn2", self._layer_normed(f"{block}.norm2", hidden), text)
        value, gate = self._linear(f"{block}.ff.net.0.proj", self._layer_normed(f"{block}.norm3", hidden)).chunk(2, -1)
        hidden = hidden + self._linear(f"{block}.ff.net.2", value * gelu(gate))
        return x + self._linear(f"{name}.proj_out", hidden).transpose(1, 2).reshape(x.shape)

    def _attention(self, name: str, asking: Tensor, asked: Tensor) -> Tensor:
        query, key, value = (
            linear(given, self.weights[f"{name}.to_{part}.weight"])
            for part, given in (("q", asking), ("k", asked), ("v", asked))
        )
        heads = 8 if self.head_width is None else query.shape[-1] // self.head_width
        query, key, value = (part.unflatten(-1, (heads, -1)) for part in (query, key, value))
        scores = torch.einsum("bihd,bjhd->bhij", query, key) / math.sqrt(query.shape[-1])
        attended = torch.einsum("bhij,bjhd->bihd", scores.softmax(dim=-1), value)
        return self._linear(f"{name}.to_out.0", attended.flatten(2))

    def _two_layers(self, name: str, x: Tensor) -> Tensor:
        return self._linear(f"{name}.2", silu(self._linear(f"{name}.0", x)))

    def _linear(self, name: str, x: Tensor) -> Tensor:
        return linear(x, self.weights[f"{name}.weight"].flatten(1), self.weights[f"{name}.bias"])

    def _conv(self, name: str, x: Tensor, *, stride: int = 1) -> Tensor:
        weight = self.weights[f"{name}.weight"]
        return conv2d(x, weight, self.weights[f"{name}.bias"], stride=stride, padding=weight.shape[-1] // 2)

    def _normed(self, name: str, x: Tensor, *, eps: float) -> Tensor:
        return group_norm(x, GROUPS, self.weights[f"{name}.weight"], self.weights[f"{name}.bias"], eps)

    def _layer_normed(self, name: str, x: Tensor) -> Tensor:
        return layer_norm(x, x.shape[-1:], self.weights[f"{name}.weight"], self.weights[f"{name}.bias"])
