import pytest
import torch
from diffusers import AutoencoderKL, UNet2DConditionModel

from tests.workers.backbones.mvdream.tiny import LAYOUT, official_config, tiny_vae
from workers.backbones.mvdream.names import UNET_NAMES, VAE_NAMES
from workers.backbones.mvdream.topology import SD15, SD21, Layout, check_unet

CAMERA_MLP = 1_661_440
SELF_ATTENTIONS = 16
PARAMETERS = {SD21: 867_572_164, SD15: 859_520_964 + CAMERA_MLP}
OF_THE_TABLE = {
    "time_embed.2.bias": "time_embedding.linear_2.bias",
    "camera_embed.0.weight": "class_embedding.linear_1.weight",
    "input_blocks.0.0.weight": "conv_in.weight",
    "input_blocks.4.0.skip_connection.weight": "down_blocks.1.resnets.0.conv_shortcut.weight",
    "input_blocks.8.1.proj_in.weight": "down_blocks.2.attentions.1.proj_in.weight",
    "input_blocks.9.0.op.bias": "down_blocks.2.downsamplers.0.conv.bias",
    "input_blocks.11.0.emb_layers.1.weight": "down_blocks.3.resnets.1.time_emb_proj.weight",
    "middle_block.1.transformer_blocks.0.attn1.to_q.weight": (
        "mid_block.attentions.0.transformer_blocks.0.attn1.to_q.weight"
    ),
    "middle_block.2.out_layers.3.weight": "mid_block.resnets.1.conv2.weight",
    "output_blocks.2.1.conv.weight": "up_blocks.0.upsamplers.0.conv.weight",
    "output_blocks.5.2.conv.weight": "up_blocks.1.upsamplers.0.conv.weight",
    "output_blocks.11.1.norm.weight": "up_blocks.3.attentions.2.norm.weight",
    "out.0.weight": "conv_norm_out.weight",
    "out.2.weight": "conv_out.weight",
}


def unet_on_no_device(layout: Layout) -> UNet2DConditionModel:
    with torch.device("meta"):
        unet: UNet2DConditionModel = UNet2DConditionModel.from_config(layout.unet_config())
    return unet


@pytest.mark.parametrize("layout", PARAMETERS)
def test_the_published_unets_have_690_tensors_that_are_renamed_there_and_back(layout: Layout) -> None:
    unet = unet_on_no_device(layout)
    names = list(unet.state_dict())
    official = [UNET_NAMES.official(name) for name in names]
    assert len({name for name in official if name is not None}) == len(names) == 690
    assert [UNET_NAMES.ours(name) for name in official if name is not None] == names
    assert sum(parameter.numel() for parameter in unet.parameters()) == PARAMETERS[layout]
    assert sum(parameter.numel() for parameter in unet.class_embedding.parameters()) == CAMERA_MLP
    assert sum(name.endswith("attn1.processor") for name in unet.attn_processors) == SELF_ATTENTIONS
    check_unet(unet.config)


@pytest.mark.parametrize(("official", "ours"), OF_THE_TABLE.items())
def test_tensors_are_renamed_as_published(official: str, ours: str) -> None:
    assert UNET_NAMES.ours(official) == ours
    assert UNET_NAMES.official(ours) == official


@pytest.mark.parametrize("name", ["", "betas", "input_blocks", "input_blocks.3.0.conv.weight", "out.1.weight"])
def test_other_names_are_unknown(name: str) -> None:
    assert UNET_NAMES.ours(name) is None


def test_the_autoencoders_tensors_are_renamed_there_and_back() -> None:
    with torch.device("meta"):
        vae = AutoencoderKL.from_config(
            {**tiny_vae().config, "layers_per_block": 2, "block_out_channels": (128, 256, 512, 512)}
        )
    names = list(vae.state_dict())
    official = [VAE_NAMES.official(name) for name in names]
    assert len({name for name in official if name is not None}) == len(names) == 248
    assert [VAE_NAMES.ours(name) for name in official if name is not None] == names


def test_the_hubs_configuration_says_how_the_unet_is_built() -> None:
    assert Layout.of_official(official_config()) == LAYOUT
    assert Layout.of_official(official_config(SD21)) == SD21


@pytest.mark.parametrize(
    ("setting", "value", "says"),
    [
        ("camera_dim", 12, "camera_dim is 12, in MVDream it is 16"),
        ("num_res_blocks", 3, "num_res_blocks is 3"),
        ("ip_dim", 16, "ImageDream"),
    ],
)
def test_a_configuration_of_another_network_is_refused(setting: str, value: object, says: str) -> None:
    with pytest.raises(ValueError, match=says):
        Layout.of_official({**official_config(), setting: value})


def test_a_unet_without_cameras_is_refused() -> None:
    unet = UNet2DConditionModel.from_config({**LAYOUT.unet_config(), "class_embed_type": None})
    with pytest.raises(ValueError, match=r"class_embed_type is None, in MVDream it is 'projection'"):
        check_unet(unet.config)
