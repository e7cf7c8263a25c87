"""The published networks, without their weights: what the tiny one stands for."""

from typing import Any

import pytest
import torch
from diffusers import AutoencoderKL, UNet2DConditionModel

from api_schemas.backbones import BACKBONES
from workers.backbones.diffusion import topology
from workers.backbones.diffusion.freeu import FreeU
from workers.backbones.diffusion.unet import read_unet

UNET: dict[str, Any] = {
    "act_fn": "silu",
    "attention_head_dim": 8,
    "block_out_channels": [320, 640, 1280, 1280],
    "center_input_sample": False,
    "cross_attention_dim": 768,
    "down_block_types": ["CrossAttnDownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D", "DownBlock2D"],
    "downsample_padding": 1,
    "flip_sin_to_cos": True,
    "freq_shift": 0,
    "in_channels": 4,
    "layers_per_block": 2,
    "mid_block_scale_factor": 1,
    "norm_eps": 1e-05,
    "norm_num_groups": 32,
    "out_channels": 4,
    "sample_size": 64,
    "up_block_types": ["UpBlock2D", "CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "CrossAttnUpBlock2D"],
}
VAE: dict[str, Any] = {
    "act_fn": "silu",
    "block_out_channels": [128, 256, 512, 512],
    "down_block_types": ["DownEncoderBlock2D"] * 4,
    "in_channels": 3,
    "latent_channels": 4,
    "layers_per_block": 2,
    "norm_num_groups": 32,
    "out_channels": 3,
    "sample_size": 512,
    "up_block_types": ["UpDecoderBlock2D"] * 4,
}


@pytest.fixture(scope="module")
def unet() -> UNet2DConditionModel:
    with torch.device("meta"):
        return UNet2DConditionModel.from_config(UNET)


def test_published_settings_pass(unet: UNet2DConditionModel) -> None:
    with torch.device("meta"):
        vae = AutoencoderKL.from_config(VAE)
    topology.check_topology(unet.config, topology.UNET)
    topology.check_topology(vae.config, topology.VAE)
    assert vae.config["scaling_factor"] == 0.18215
    assert sum(parameter.numel() for parameter in unet.parameters()) == 859_520_964
    assert sum(parameter.numel() for parameter in vae.parameters()) == 83_653_863


def test_a_tile_of_512_pixels_gives_the_published_channels(unet: UNet2DConditionModel) -> None:
    with torch.device("meta"):
        latents, context = torch.empty(2, 4, 64, 64), torch.empty(1, 77, 768)
    freeu = FreeU.of_widths(UNET["block_out_channels"])
    found = read_unet(unet, latents, 50, context, places=(2, 5, 8), freeu=freeu)
    shapes = {place: tuple(state.shape) for place, state in found.items()}
    assert shapes == {2: (2, 1280, 8, 8), 5: (2, 1280, 16, 16), 8: (2, 640, 32, 32)}
    assert BACKBONES["sd15"].channels == sum(shape[1] for shape in shapes.values())
    assert BACKBONES["sd15_dift"].channels == shapes[5][1]
    assert BACKBONES["sd15"].stride == 512 // shapes[8][-1]
