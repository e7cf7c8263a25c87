"""The networks alone, from a checkpoint that has no text encoder."""

import json
from pathlib import Path

import pytest
import torch
from diffusers import UNet2DConditionModel
from transformers import CLIPTextModel, CLIPTokenizer

from api_schemas.weights import WeightsEntry
from tests.workers.backbones.diffusion.attention_reference import (
    WIDTH_OF_2,
    assert_alike,
    attention,
    embeddings_for,
    noisy_latents,
    reader_of,
    tiny_unet_2,
)
from tests.workers.backbones.diffusion.tiny import tiny_unet, tiny_vae
from workers.backbones.base import Compute
from workers.backbones.diffusion.attention import AttentionReader
from workers.backbones.diffusion.loading import load_networks
from workers.backbones.diffusion.networks import DiffusionNetworks
from workers.backbones.weights.folder import WeightsError, WeightsFolder, open_entry

NAME = "own_sd"
WEIGHTS = "diffusion_pytorch_model.safetensors"
FILES = [f"{part}/{file}" for part in ("unet", "vae") for file in ("config.json", WEIGHTS)]


def save(weights_dir: Path, unet: UNet2DConditionModel) -> None:
    """Write a checkpoint in the hub's layout."""
    unet.save_pretrained(weights_dir / NAME / "unet", safe_serialization=True)
    tiny_vae().save_pretrained(weights_dir / NAME / "vae", safe_serialization=True)


def opened(weights_dir: Path) -> WeightsFolder:
    """Find it as the service does."""
    files = [{"path": path, "bytes": 1_000_000} for path in FILES]
    entry = {"hub": "me/own", "license": "CC0-1.0", "family": "stable_diffusion", "files": files}
    return open_entry(NAME, WeightsEntry.model_validate(entry), weights_dir)


def load(weights_dir: Path, *, dtype: torch.dtype = torch.float32) -> DiffusionNetworks:
    """Load it as the service does."""
    return load_networks(opened(weights_dir), Compute(dtype=dtype))


@pytest.fixture(scope="module")
def weights_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a tiny network of Stable Diffusion 2.x; not to be written to."""
    folder = tmp_path_factory.mktemp("weights")
    save(folder, tiny_unet_2())
    return folder


def change(weights_dir: Path, part: str, **settings: object) -> None:
    """Write other settings into a configuration."""
    path = weights_dir / NAME / part / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | settings))


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """A weights folder to damage."""
    save(tmp_path, tiny_unet())
    return tmp_path


def test_a_checkpoint_of_2_attends_as_its_network(weights_dir: Path) -> None:
    loaded, plain = AttentionReader(load(weights_dir)), reader_of(tiny_unet_2())
    assert loaded.embedding_shape == (77, WIDTH_OF_2)
    embeddings, noisy = embeddings_for(plain, 1).detach(), noisy_latents(plain)
    with torch.no_grad():
        found, expected = (attention(reader, noisy, embeddings, [0]) for reader in (loaded, plain))
    assert_alike(found, expected)
    assert_alike([noisy_latents(loaded)], [noisy])


def test_no_text_encoder_is_made(weights_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("the text encoder was asked for")

    monkeypatch.setattr(CLIPTextModel, "__init__", refuse)
    monkeypatch.setattr(CLIPTokenizer, "from_pretrained", refuse)
    networks = load(weights_dir)
    names = {type(module).__name__ for network in (networks.unet, networks.vae) for module in network.modules()}
    assert not [name for name in names if "CLIP" in name]


def test_loaded_networks_are_frozen_and_in_their_precision(weights_dir: Path) -> None:
    networks = load(weights_dir, dtype=torch.bfloat16)
    assert {parameter.dtype for parameter in networks.unet.parameters()} == {torch.bfloat16}
    assert {parameter.dtype for parameter in networks.vae.parameters()} == {torch.float32}
    for network in (networks.unet, networks.vae):
        assert not network.training
        assert not any(parameter.requires_grad for parameter in network.parameters())


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"addition_embed_type": "text_time", "projection_class_embeddings_input_dim": 96}, "addition_embed_type is"),
        ({"in_channels": 9}, "in_channels is 9"),
        ({"down_block_types": ["DownBlock2D", *["CrossAttnDownBlock2D"] * 3]}, "down_block_types is"),
        ({"up_block_types": ["UpBlock2D", "UpBlock2D", *["CrossAttnUpBlock2D"] * 2]}, "up_block_types is"),
        ({"transformer_layers_per_block": 2}, "transformer_layers_per_block is 2"),
    ],
)
def test_a_network_that_is_built_otherwise_is_refused(copy: Path, settings: dict[str, object], says: str) -> None:
    change(copy, "unet", **settings)
    with pytest.raises(WeightsError, match=rf"unet/config\.json.*{says}.*Stable Diffusion 1\.x and 2\.x"):
        load(copy)


def test_an_autoencoder_that_is_built_otherwise_is_refused(copy: Path) -> None:
    change(copy, "vae", latent_channels=16)
    with pytest.raises(WeightsError, match=r"vae/config\.json.*latent_channels is 16"):
        load(copy)


@pytest.mark.parametrize("part", ["unet", "vae"])
def test_a_pickle_is_not_read(copy: Path, part: str) -> None:
    folder = opened(copy)
    path = copy / NAME / part
    (path / WEIGHTS).rename(path / "diffusion_pytorch_model.bin")
    with pytest.raises(WeightsError, match=rf"{part}/ has .*\.bin, a pickle.*bring {WEIGHTS} instead"):
        load_networks(folder, Compute())
    with pytest.raises(WeightsError, match=rf"weights pull {NAME}.*{part}/diffusion_pytorch_model\.bin.*a pickle"):
        opened(copy)
