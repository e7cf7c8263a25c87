"""One transformer block: run whole within little memory, or only as far as a facet needs."""

from collections.abc import Iterator
from dataclasses import dataclass
from math import ceil
from typing import Literal

import torch
from timm.layers.attention import Attention
from timm.layers.layer_scale import LayerScale
from timm.models.eva import EvaAttention, EvaBlock
from timm.models.vision_transformer import Block as TimmBlock
from torch import Tensor, nn
from torch.nn.functional import linear, scaled_dot_product_attention

from workers.backbones.base import Tick
from workers.backbones.vit.positions import rotated

Projection = Literal["query", "key", "value"]

_THIRDS: tuple[Projection, ...] = ("query", "key", "value")
_QUERY_TOKENS = 2048
_HIDDEN_TOKENS = 512
_REMEDY = "use DINO, DINOv2 or DINOv3"


@dataclass(frozen=True)
class Block:
    """A pre-norm block, whichever of timm's classes it comes from."""

    heads: int
    norm1: nn.Module
    qkv_weight: Tensor
    """(3C, C): the rows of the queries, then of the keys, then of the values."""
    qkv_bias: Tensor | None
    proj: nn.Module
    scale1: Tensor | None
    """LayerScale (C,) of the attention."""
    norm2: nn.Module
    mlp: nn.Module
    scale2: Tensor | None

    def projected(self, normed: Tensor, what: Projection) -> Tensor:
        """Project normed tokens (N, T, C) to one of the three inputs of attention, (N, heads, T, d), before RoPE."""
        third = _THIRDS.index(what)
        weight = self.qkv_weight.chunk(3)[third]
        bias = None if self.qkv_bias is None else self.qkv_bias.chunk(3)[third]
        return linear(normed, weight, bias).view(*normed.shape[:2], self.heads, -1).transpose(1, 2)

    def class_attention(self, tokens: Tensor, rope: Tensor | None) -> Tensor:
        """Attention of the first token to every token, softmaxed: (N, heads, T) float32."""
        normed = self.norm1(tokens)
        query = _turned(self.projected(normed[:, :1], "query"), rope, slice(1))
        keys = _turned(self.projected(normed, "key"), rope)
        scores: Tensor = (query @ keys.mT).squeeze(2).float()
        return (scores * float(keys.shape[-1] ** -0.5)).softmax(dim=-1)

    def advance_(self, tokens: Tensor, rope: Tensor | None, tick: Tick) -> None:
        """Replace tokens (N, T, C) by the block's output, in place.

        Once all keys and values are known, a token needs no other: the rest is done for some tokens at a time, so that
        no queries, attention or hidden layer of all tokens are ever held.
        """
        normed = self.norm1(tokens)
        keys, values = _turned(self.projected(normed, "key"), rope), self.projected(normed, "value")
        for part in _parts(tokens, _QUERY_TOKENS):
            some = tokens[:, part]
            queries = _turned(self.projected(normed[:, part], "query"), rope, part)
            attended = scaled_dot_product_attention(queries, keys, values).transpose(1, 2).flatten(2)
            _add_(some, self.proj(attended), self.scale1)
            del queries, attended
            for few in _parts(some, _HIDDEN_TOKENS):
                _add_(some[:, few], self.mlp(self.norm2(some[:, few])), self.scale2)
            tick()


def as_block(block: nn.Module) -> Block:
    """Read the parts of a block of timm's `VisionTransformer` or `Eva`.

    Raises:
        ValueError: it is of another kind, and would compute something else.
    """
    attention = getattr(block, "attn", None)
    scale1: Tensor | None
    scale2: Tensor | None
    bias: Tensor | None
    if isinstance(block, TimmBlock) and isinstance(attention, Attention):
        scale1, scale2 = _layer_scale(block.ls1), _layer_scale(block.ls2)
        bias = attention.qkv.bias
    elif isinstance(block, EvaBlock) and isinstance(attention, EvaAttention):
        scale1, scale2 = block.gamma_1, block.gamma_2
        bias = _joined_bias(attention)
    else:
        raise ValueError(f"cannot run a {type(block).__name__} with {type(attention).__name__}; {_REMEDY}")
    if attention.qkv is None or attention.gate is not None or not _is_bare(attention):
        raise ValueError(f"cannot run attention with a norm, a gate or separate projections; {_REMEDY}")
    return Block(
        heads=attention.num_heads,
        norm1=block.norm1,
        qkv_weight=attention.qkv.weight,
        qkv_bias=bias,
        proj=attention.proj,
        scale1=scale1,
        norm2=block.norm2,
        mlp=block.mlp,
        scale2=scale2,
    )


def _is_bare(attention: nn.Module) -> bool:
    """Tell whether nothing is done between the projections and attention, nor between attention and its output."""
    return all(isinstance(attention.get_submodule(name), nn.Identity) for name in ("q_norm", "k_norm", "norm"))


def _layer_scale(module: nn.Module) -> Tensor | None:
    return module.gamma if isinstance(module, LayerScale) else None


def _joined_bias(attention: EvaAttention) -> Tensor | None:
    if attention.q_bias is None:
        return None
    biases = (attention.q_bias, attention.get_buffer("k_bias"), attention.v_bias)
    return torch.cat([bias for bias in biases if bias is not None])


def _turned(vectors: Tensor, rope: Tensor | None, part: slice = slice(None)) -> Tensor:
    return vectors if rope is None else rotated(vectors, rope[:, part])


def _parts(tokens: Tensor, most: int) -> Iterator[slice]:
    """Cut the tokens (N, T, C) of all images alike, into parts of about `most` tokens."""
    count, length = tokens.shape[:2]
    step = ceil(length / max(1, round(count * length / most)))
    return (slice(start, start + step) for start in range(0, length, step))


def _add_(tokens: Tensor, change: Tensor, scale: Tensor | None) -> None:
    tokens.add_(change) if scale is None else tokens.addcmul_(change, scale)
