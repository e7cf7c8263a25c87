"""Networks to read attention from, and diffusers' own computation of it in a whole pass."""

import math
from collections.abc import Sequence

import torch
from diffusers import UNet2DConditionModel
from torch import Tensor
from torch.testing import assert_close

from tests.workers.backbones.diffusion.tiny import fill, picture, tiny_unet, tiny_vae
from workers.backbones.base import Compute
from workers.backbones.diffusion.attention import TAPPED_LAYERS, AttentionReader, HeadChoice
from workers.backbones.diffusion.networks import DiffusionNetworks
from workers.backbones.diffusion.schedule import noised
from workers.backbones.diffusion.vae import VaeEncoder

TIMESTEP = 140
TOKENS = 3
WIDTH_OF_2 = 48


def tiny_unet_2() -> UNet2DConditionModel:
    """A tiny U-Net as Stable Diffusion 2.x has it: other heads, linear projections, attention in float32."""
    changed = {
        "attention_head_dim": [4, 8, 8, 8],
        "use_linear_projection": True,
        "upcast_attention": True,
        "cross_attention_dim": WIDTH_OF_2,
    }
    unet = UNet2DConditionModel.from_config({**tiny_unet().config, **changed})
    fill(unet)
    return unet.eval()


def reader_of(
    unet: UNet2DConditionModel, *, heads: HeadChoice = "second_half", dtype: torch.dtype = torch.float32
) -> AttentionReader:
    """Read a network as it is, with the tiny autoencoder."""
    encoder = VaeEncoder(tiny_vae()).requires_grad_(False)
    networks = DiffusionNetworks("tiny", "0", Compute(dtype=dtype), unet.requires_grad_(False), encoder)
    if dtype != torch.float32:
        unet.to(dtype)
    return AttentionReader(networks, heads=heads)


def noisy_latents(reader: AttentionReader, size: int = 256, count: int = 1) -> Tensor:
    """Latents (N, 4, h, w) of pictures that differ, under noise that does too."""
    latents = reader.encode(torch.cat([picture(size, size, 0.4 * index) for index in range(count)]))
    noise = torch.rand(latents.shape, generator=torch.Generator().manual_seed(3))
    return noised(latents, noise, TIMESTEP)


def embeddings_for(reader: AttentionReader, count: int) -> Tensor:
    """Contexts (N, 77, D) that want gradients."""
    draw = torch.Generator().manual_seed(4)
    return torch.randn(count, *reader.embedding_shape, generator=draw).requires_grad_()


def attention(
    reader: AttentionReader, noisy: Tensor, embeddings: Tensor, owners: Sequence[int], *, tokens: int = TOKENS
) -> list[Tensor]:
    """Per layer maps (B, tokens, s, s)."""
    features = reader.features(noisy, TIMESTEP, embeddings, torch.tensor(owners))
    return reader.attend(features, embeddings, tokens)


def diffusers_attention(
    unet: UNet2DConditionModel, noisy: Tensor, embeddings: Tensor, *, heads: HeadChoice, tokens: int = TOKENS
) -> list[Tensor]:
    """The same by a whole pass of diffusers' network, whose cross-attentions are watched."""
    found: dict[str, Tensor] = {}
    handles = [
        unet.get_submodule(f"{name}.transformer_blocks.0.attn2").register_forward_pre_hook(
            lambda module, given, named, name=name: found.update({name: _scores(module, *given, **named)}),
            with_kwargs=True,
        )
        for name in TAPPED_LAYERS
    ]
    unet(noisy, TIMESTEP, embeddings)
    for handle in handles:
        handle.remove()
    return [_map(found[name], len(noisy), heads, tokens) for name in TAPPED_LAYERS]


def _scores(module: torch.nn.Module, hidden: Tensor, encoder_hidden_states: Tensor, **_: object) -> Tensor:
    queries, keys = module.to_q(hidden), module.to_k(encoder_hidden_states)
    scores: Tensor = module.get_attention_scores(module.head_to_batch_dim(queries), module.head_to_batch_dim(keys))
    return scores


def _map(scores: Tensor, count: int, heads: HeadChoice, tokens: int) -> Tensor:
    """Of scores (B x heads, cells, 77)."""
    by_head = scores.unflatten(0, (count, -1))
    read = by_head[:, by_head.shape[1] // 2 :] if heads == "second_half" else by_head
    side = math.isqrt(read.shape[2])
    return read.mean(1)[..., 1 : 1 + tokens].transpose(1, 2).unflatten(2, (side, side))


def assert_alike(found: Sequence[Tensor], expected: Sequence[Tensor], *, rtol: float = 1e-5) -> None:
    """Compare layer by layer."""
    assert len(found) == len(expected)
    for one, other in zip(found, expected, strict=True):
        assert_close(one, other, rtol=rtol, atol=0.1 * rtol)
