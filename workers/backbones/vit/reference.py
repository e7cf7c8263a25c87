"""The plain way to read a transformer, as in the code of Deep ViT Features (arXiv 2112.05814), to test the fast one.

All blocks run, each with its whole attention matrix; a forward hook keeps what is wanted of one of them.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial

import torch
from timm.layers.attention import Attention
from timm.layers.layer_scale import LayerScale
from timm.models.eva import EvaAttention
from torch import Tensor, nn
from torch.nn.functional import linear
from torch.utils.hooks import RemovableHandle

from api_schemas.backbones import FeatureOptions
from workers.backbones.base import cells_of
from workers.backbones.identity import settled
from workers.backbones.vit.blocks import Block
from workers.backbones.vit.framing import fitted, normalised, spread
from workers.backbones.vit.log_bins import log_bins_reference
from workers.backbones.vit.network import View, VitNetwork

_THIRDS = {"query": 0, "key": 1, "value": 2}
_SWITCH = "fused_attn"
_FORWARD = "forward"


def extract_reference(network: VitNetwork, images: Tensor, options: FeatureOptions) -> Tensor:
    """Do the same as `VitBackbone.extract` with complete options, image by image."""
    stride, view = settled(options.stride), View(settled(options.layer), settled(options.facet))
    described = []
    for image in images[:, None]:
        maps = describe_reference(network, normalised(fitted(image, network.patch)), view, stride=stride)
        if options.log_bins:
            maps = log_bins_reference(maps)
        described.append(spread(maps, cells_of(images, stride), patch=network.patch, stride=stride))
    return torch.cat(described)


@torch.no_grad()
def describe_reference(network: VitNetwork, inputs: Tensor, view: View, *, stride: int) -> Tensor:
    """Do the same as `VitNetwork.describe` for one view."""
    model, kept = network.model, list[Tensor]()
    tokens, (rows, columns) = network.embedded(inputs, stride)
    rope = network.rope(inputs, stride)
    hook = _hook(model.blocks[view.layer], network.blocks[view.layer], view, kept)
    with _explicit_attention(model):
        for block in model.blocks:
            tokens = block(tokens) if rope is None else block(tokens, rope=_as_timm(rope[:, network.prefix :]))
        model.norm(tokens)
    hook.remove()
    described = kept[0]
    if view.facet == "attention":
        return described[:, :, 0, network.prefix :].reshape(len(inputs), -1, rows, columns)
    if view.facet in _THIRDS:
        thirds = described.view(*described.shape[:2], 3, network.heads, -1)
        described = thirds[:, :, _THIRDS[view.facet]].mT.flatten(2)
    return described[:, network.prefix :].mT.reshape(len(inputs), -1, rows, columns)


def _hook(block: nn.Module, parts: Block, view: View, kept: list[Tensor]) -> RemovableHandle:
    def keep_output(_: nn.Module, __: tuple[Tensor, ...], output: Tensor) -> None:
        kept.append(output)

    def keep_projections(_: nn.Module, inputs: tuple[Tensor, ...], __: Tensor) -> None:
        kept.append(linear(inputs[0], parts.qkv_weight, parts.qkv_bias))

    if view.facet == "token":
        return block.register_forward_hook(keep_output)
    if view.facet == "attention":
        return block.get_submodule("attn.attn_drop").register_forward_hook(keep_output)
    return block.get_submodule("attn").register_forward_hook(keep_projections)


def _as_timm(rope: Tensor) -> Tensor:
    """Turn cosines and sines (2, T, d) into timm's form (T, 2d), sines first."""
    return torch.cat([rope[1], rope[0]], dim=-1)


@contextmanager
def _explicit_attention(model: nn.Module) -> Iterator[None]:
    """Let every block compute its whole attention matrix; DINO's as its own code does, others as timm writes them."""
    before = {each: each.fused_attn for each in model.modules() if isinstance(each, Attention | EvaAttention)}
    scales = not any(isinstance(each, LayerScale) for each in model.modules())
    for attention in before:
        setattr(attention, _SWITCH, False)
        if scales and isinstance(attention, Attention):
            attention.__dict__[_FORWARD] = partial(_dino_attention, attention)
    try:
        yield
    finally:
        for attention, fused in before.items():
            setattr(attention, _SWITCH, fused)
            attention.__dict__.pop(_FORWARD, None)


def _dino_attention(attention: Attention, tokens: Tensor, **_: object) -> Tensor:
    """Attention as in the official code of DINO (arXiv 2104.14294), which scales the matrix and not the queries.

    timm's blocks also give it masks, which are None here.
    """
    count, length, width = tokens.shape
    qkv = attention.qkv(tokens).reshape(count, length, 3, attention.num_heads, -1).permute(2, 0, 3, 1, 4)
    queries, keys, values = qkv.unbind()
    weights = ((queries @ keys.mT) * attention.scale).softmax(dim=-1)
    attended = (attention.attn_drop(weights) @ values).transpose(1, 2).reshape(count, length, width)
    projected: Tensor = attention.proj_drop(attention.proj(attended))
    return projected
