"""MVDream from a folder in the hub's layout: local safetensors, every tensor accounted for.

The U-Net may have the official names, as in the hub's repository, or those of diffusers, as `conversion` writes them.
"""

from pathlib import Path

import torch
from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel
from transformers import CLIPTextModel, CLIPTokenizer

from workers.backbones.base import Compute
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
from workers.backbones.mvdream.conversion import unet_tensors
from workers.backbones.mvdream.cross_view import install_cross_view
from workers.backbones.mvdream.networks import MvdreamNetworks
from workers.backbones.mvdream.text import TextEncoder
from workers.backbones.mvdream.topology import OFFICIAL_CLASS, Layout, check_unet
from workers.backbones.weights.errors import WeightsError
from workers.backbones.weights.folder import WeightsFolder

_OPENCLIP_ACTIVATION = "gelu"
_OPENCLIP_PADDING = 0


def load_mvdream(folder: WeightsFolder, compute: Compute) -> MvdreamNetworks:
    """Load all networks onto the device, the U-Net in the precision asked for, the other two in float32.

    Raises:
        WeightsError: a file is missing, damaged or a pickle, or belongs to another network.
    """
    unet = _load_unet(folder.path / "unet", compute)
    vae = frozen(load_autoencoder(folder.path / "vae"), compute.device)
    text_encoder = _load_text(folder.path, compute)
    if text_encoder.width != unet.config["cross_attention_dim"]:
        raise WeightsError(
            f"the text encoder gives {text_encoder.width} channels, the U-Net takes "
            f"{unet.config['cross_attention_dim']}; bring both from one repository"
        )
    return MvdreamNetworks(folder.name, folder.digest, compute, unet, vae, text_encoder)


def _load_unet(folder: Path, compute: Compute) -> UNet2DConditionModel:
    with torch.device("meta"), configuring(folder):
        config = read_config(folder)
        is_official = config.get("_class_name") == OFFICIAL_CLASS
        unet: UNet2DConditionModel = UNet2DConditionModel.from_config(
            Layout.of_official(config).unet_config() if is_official else config
        )
        check_unet(unet.config)
    tensors = part_tensors(folder / DIFFUSERS_FILE)
    fill_part(unet, unet_tensors(tensors) if is_official else tensors, folder, compute.dtype)
    install_cross_view(unet)
    return frozen(unet, compute.device)


def _load_text(folder: Path, compute: Compute) -> TextEncoder:
    network = load_text_encoder(folder / "text_encoder")
    tokenizer = load_tokenizer(folder / "tokenizer", int(network.config.vocab_size))
    _check_padding(tokenizer, network)
    return TextEncoder(tokenizer, frozen(network, compute.device))


def _check_padding(tokenizer: CLIPTokenizer, network: CLIPTextModel) -> None:
    """Refuse the other padding: it gives other states, and no error."""
    is_openclip = network.config.hidden_act == _OPENCLIP_ACTIVATION
    expected = _OPENCLIP_PADDING if is_openclip else tokenizer.eos_token_id
    if tokenizer.pad_token_id != expected:
        kind = "OpenCLIP, which pads with id 0, '!'" if is_openclip else "CLIP, which pads with its end mark"
        raise WeightsError(
            f"the tokenizer in tokenizer/ pads with id {tokenizer.pad_token_id}, but the text encoder is that of "
            f"{kind}; bring both from one repository"
        )
