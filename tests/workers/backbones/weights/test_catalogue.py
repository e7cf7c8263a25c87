"""The catalogue names networks that exist, with the sizes that they have."""

from typing import Any

import pytest

from api_schemas.backbones import BACKBONES
from api_schemas.weights import backbones_with, diffusion_models, size_text, weights_catalogue, weights_for

CATALOGUE = weights_catalogue()
OF_TIMM = {name: entry for name, entry in CATALOGUE.items() if entry.architecture}
OF_METHODS = {"vgg16", "sd14", "sd21", "mvdream"}
LICENSES = {"Apache-2.0": "apache-2.0", "BSD-3-Clause": "bsd-3-clause", "DINOv3 License": "dinov3-license"}
HEADER_SHARE = 0.01
HEADER_BYTES = 100_000
FLOAT32_BYTES = 4


def test_every_backbone_has_its_weights_and_other_weights_are_those_that_methods_ask_for() -> None:
    needed = {name for info in BACKBONES.values() for name in info.weights}
    assert needed | OF_METHODS == set(CATALOGUE)
    assert {name for name in CATALOGUE if not backbones_with(name)} == OF_METHODS


@pytest.mark.parametrize("name", OF_TIMM)
def test_timm_has_the_architecture_the_source_the_license_the_size_and_the_channels(name: str) -> None:
    import timm
    import torch

    entry = OF_TIMM[name]
    with torch.device("meta"):
        model = timm.create_model(entry.architecture, pretrained=False)
    assert model.pretrained_cfg["hf_hub_id"] == entry.hub
    assert model.pretrained_cfg["license"] == LICENSES[entry.license]
    assert name in OF_METHODS or model.num_features == BACKBONES[name].channels
    parameters = sum(tensor.numel() for tensor in model.state_dict().values())
    assert entry.bytes == pytest.approx(FLOAT32_BYTES * parameters, rel=HEADER_SHARE)
    assert entry.bytes > FLOAT32_BYTES * parameters


def diffusion_parts(name: str) -> dict[str, Any]:
    """Build what the two files of a diffusion model hold, on no device."""
    import torch
    from diffusers import AutoencoderKL, UNet2DConditionModel

    second: dict[str, Any] = {"cross_attention_dim": 1024, "attention_head_dim": [5, 10, 20, 20]}
    of_unet = {**second, "use_linear_projection": True} if name == "sd21" else {"cross_attention_dim": 768}
    with torch.device("meta"):
        unet = UNet2DConditionModel(block_out_channels=(320, 640, 1280, 1280), **of_unet)
        vae = AutoencoderKL(
            down_block_types=("DownEncoderBlock2D",) * 4,
            up_block_types=("UpDecoderBlock2D",) * 4,
            block_out_channels=(128, 256, 512, 512),
            layers_per_block=2,
        )
    return {"unet": unet, "vae": vae}


@pytest.mark.parametrize("name", ["sd15", "sd14", "sd21"])
def test_diffusion_models_are_as_large_as_their_networks(name: str) -> None:
    sizes = {file.path: file.bytes for file in CATALOGUE[name].files}
    for part, network in diffusion_parts(name).items():
        values = FLOAT32_BYTES * sum(tensor.numel() for tensor in network.state_dict().values())
        header = sizes[f"{part}/diffusion_pytorch_model.safetensors"] - values
        assert 0 < header < HEADER_BYTES


def test_the_diffusion_models_stand_in_the_order_of_preference() -> None:
    assert diffusion_models() == ["sd15", "sd14", "sd21"]


def test_only_safetensors_configurations_and_vocabularies_are_brought() -> None:
    kinds = {file.path.rpartition(".")[2] for entry in CATALOGUE.values() for file in entry.files}
    assert kinds == {"safetensors", "json", "txt"}


def test_every_checksum_stands_once_and_all_of_stable_diffusion_1_5_is_pinned() -> None:
    sums = [file.sha256 for entry in CATALOGUE.values() for file in entry.files if file.sha256]
    assert len(sums) == len(set(sums))
    assert all(file.sha256 for file in CATALOGUE["sd15"].files)


def test_names_of_weights_and_of_backbones_stand_for_weights() -> None:
    assert weights_for(["sd15_dift", "sd15+dinov2_vitb14", "sd15"]) == ["sd15", "dinov2_vitb14"]
    assert weights_for(["dense_descriptor"]) == []
    assert weights_for(["vgg16"]) == ["vgg16"]


def test_an_unknown_name_is_told_with_the_nearest_one_and_all_others() -> None:
    with pytest.raises(ValueError, match=r"'dinov2_vitb14_rge'; did you mean 'dinov2_vitb14_reg'\? .*dino_vits8.*sd15"):
        weights_for(["dinov2_vitb14_rge"])


@pytest.mark.parametrize(("size", "text"), [(12, "12 bytes"), (86_694_768, "86.7 MB"), (4_265_000_000, "4.26 GB")])
def test_sizes_are_written_with_three_digits(size: int, text: str) -> None:
    assert size_text(size) == text
