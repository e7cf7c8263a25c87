"""Stable Diffusion 1.x and 2.x from a folder in the hub's layout: local safetensors, every tensor accounted for."""

from pathlib import Path

import torch
from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel
from torch import nn

from workers.backbones.base import Compute
from workers.backbones.diffusion import topology
from workers.backbones.diffusion.networks import DiffusionNetworks
from workers.backbones.diffusion.parts import (
    DIFFUSERS_FILE,
    configuring,
    fill_part,
    frozen,
    load_autoencoder,
    load_text_encoder,
    load_tokenizer,
    part_tensors,
    read_config,
)
from workers.backbones.diffusion.prompts import PromptEncoder
from workers.backbones.diffusion.stable_diffusion import StableDiffusion
from workers.backbones.diffusion.vae import VaeEncoder
from workers.backbones.weights.folder import WeightsFolder


def load_networks(folder: WeightsFolder, compute: Compute) -> DiffusionNetworks:
    """Load the U-Net and the autoencoder's encoder, without the parts that nothing here needs.

    Left out, once they were found whole: the autoencoder's decoder, 60 % of it, as no picture is ever made, and the
    U-Net's output convolution. The U-Net's last decoder block stays: DIFT may read it. Both go onto the device.

    Raises:
        WeightsError: a file is missing, damaged or a pickle, or belongs to another network.
    """
    unet = _load_unet(folder.path / "unet", compute)
    vae = frozen(VaeEncoder(load_autoencoder(folder.path / "vae")), compute.device)
    return DiffusionNetworks(folder.name, folder.digest, compute, unet, vae)


def load_stable_diffusion(folder: WeightsFolder, networks: DiffusionNetworks) -> StableDiffusion:
    """Join loaded networks with their text encoder, which stays on the CPU, see `PromptEncoder`.

    Raises:
        WeightsError: a file is missing, damaged or a pickle, or belongs to another network.
    """
    text_encoder = load_text_encoder(folder.path / "text_encoder")
    tokenizer = load_tokenizer(folder.path / "tokenizer", int(text_encoder.config.vocab_size))
    prompts = PromptEncoder(tokenizer, text_encoder)
    return StableDiffusion(networks.name, networks.digest, networks.compute, networks.unet, networks.vae, prompts)


def _load_unet(folder: Path, compute: Compute) -> UNet2DConditionModel:
    with torch.device("meta"), configuring(folder):
        unet: UNet2DConditionModel = UNet2DConditionModel.from_config(read_config(folder))
        topology.check_topology(unet.config, topology.UNET)
    fill_part(unet, part_tensors(folder / DIFFUSERS_FILE), folder, compute.dtype)
    # The network's own `forward` still runs, and ends with the decoder's output.
    unet.register_module("conv_norm_out", None)
    unet.register_module("conv_out", nn.Identity())
    return frozen(unet, compute.device)
