"""Networks of Stable Diffusion's topology without its weights: of the real size, and a tiny one."""

from __future__ import annotations

import torch
from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL
from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel
from torch import nn

from workers.backbones.base import Compute
from workers.backbones.diffusion.networks import DiffusionNetworks
from workers.backbones.diffusion.vae import LATENT_CHANNELS, VaeEncoder
from workers.evaluation.formula_weights import fill

_LEVELS = 4


def real_networks(compute: Compute) -> DiffusionNetworks:
    """The configuration of Stable Diffusion 1.4, made where it computes; weights are random, or none on `meta`."""
    with torch.device(compute.device):
        unet = _unet((320, 640, 1280, 1280), groups=32, context=768)
        vae = _vae((128, 256, 512, 512), layers=2, groups=32)
    return _joined("sd14_shape", compute, unet, vae)


def tiny_networks() -> DiffusionNetworks:
    """3.2 million parameters in the same layers, by formula, on the CPU."""
    unet, vae = _unet((32, 64, 64, 64), groups=8, context=32), _vae((8, 16, 16, 16), layers=1, groups=4)
    fill(unet)
    fill(vae)
    return _joined("tiny_shape", Compute(), unet, vae)


def _unet(widths: tuple[int, ...], *, groups: int, context: int) -> UNet2DConditionModel:
    unet: UNet2DConditionModel = UNet2DConditionModel(
        sample_size=64,
        block_out_channels=widths,
        norm_num_groups=groups,
        cross_attention_dim=context,
        attention_head_dim=8,
    )
    return unet


def _vae(widths: tuple[int, ...], *, layers: int, groups: int) -> VaeEncoder:
    vae = AutoencoderKL(
        down_block_types=("DownEncoderBlock2D",) * _LEVELS,
        up_block_types=("UpDecoderBlock2D",) * _LEVELS,
        block_out_channels=widths,
        layers_per_block=layers,
        latent_channels=LATENT_CHANNELS,
        norm_num_groups=groups,
        sample_size=512,
    )
    return VaeEncoder(vae)


def _joined(name: str, compute: Compute, unet: UNet2DConditionModel, vae: VaeEncoder) -> DiffusionNetworks:
    # diffusers' own `to` warns of layers that it finds none of.
    nn.Module.to(unet, dtype=compute.dtype)
    for network in (unet, vae):
        network.train(False).requires_grad_(False)
    return DiffusionNetworks(name, "", compute, unet, vae)
