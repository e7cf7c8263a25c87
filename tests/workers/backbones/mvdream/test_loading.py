import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from tests.workers.backbones.mvdream.tiny import (
    NAME,
    load_tiny,
    official_config,
    official_unet_tensors,
    save_vocabulary,
    tiny_unet,
)
from workers.backbones.mvdream.networks import MvdreamNetworks
from workers.backbones.registry import BackboneProvider
from workers.backbones.weights.errors import MissingWeightsError, WeightsError

UNET = "unet/diffusion_pytorch_model.safetensors"
VAE = "vae/diffusion_pytorch_model.safetensors"
TEXT = "text_encoder/model.safetensors"


@pytest.fixture
def copy(mvdream_dir: Path, tmp_path: Path) -> Path:
    """A weights folder to damage."""
    shutil.copytree(mvdream_dir / NAME, tmp_path / NAME)
    return tmp_path


def rewrite(path: Path, change: Callable[[dict[str, Tensor]], None]) -> None:
    """Change the tensors of a file."""
    tensors = load_file(path)
    change(tensors)
    save_file(tensors, path)


def change_settings(weights_dir: Path, part: str, **settings: object) -> None:
    """Write other settings into a configuration."""
    path = weights_dir / NAME / part
    path.write_text(json.dumps(json.loads(path.read_text()) | settings))


def test_networks_hold_the_stored_weights_and_are_frozen(mvdream: MvdreamNetworks) -> None:
    stored = tiny_unet().state_dict()
    held = mvdream.unet.state_dict()
    assert held.keys() == stored.keys()
    assert all(torch.equal(held[name], stored[name]) for name in stored)
    assert (mvdream.name, len(mvdream.digest)) == (NAME, 64)
    for network in (mvdream.unet, mvdream.vae, mvdream.text_encoder.network):
        assert not network.training
        assert not any(parameter.requires_grad for parameter in network.parameters())


def test_the_provider_loads_them_once(mvdream_dir: Path) -> None:
    provider = BackboneProvider(weights_dir=mvdream_dir)
    assert provider.mvdream(NAME) is provider.mvdream(NAME)


def test_a_unet_as_the_hub_has_it_loads(copy: Path, mvdream: MvdreamNetworks) -> None:
    (copy / NAME / "unet/config.json").write_text(json.dumps(official_config()))
    halved = {name: tensor.half() for name, tensor in official_unet_tensors(tiny_unet()).items()}
    save_file(halved, copy / NAME / UNET)
    loaded = load_tiny(copy).unet
    assert {parameter.dtype for parameter in loaded.parameters()} == {torch.float32}
    held, expected = loaded.state_dict(), mvdream.unet.state_dict()
    assert held.keys() == expected.keys()
    assert all(torch.equal(held[name], tensor.half().float()) for name, tensor in expected.items())
    assert loaded.config["attention_head_dim"] == mvdream.unet.config["attention_head_dim"]


def test_nothing_at_hand_is_told_with_the_command_that_brings_it(tmp_path: Path) -> None:
    with pytest.raises(MissingWeightsError, match=r"2585 MB from ashawkey/.*OpenRAIL.*congeal weights pull mvdream"):
        load_tiny(tmp_path)


def test_a_released_file_in_the_folder_is_told_apart(tmp_path: Path) -> None:
    (tmp_path / NAME).mkdir()
    (tmp_path / NAME / "sd-v2.1-base-4view.pt").touch()
    with pytest.raises(MissingWeightsError, match=r"sd-v2\.1-base-4view\.pt, which is not taken: a pickle can run"):
        load_tiny(tmp_path)


def without_one(tensors: dict[str, Tensor]) -> None:
    del tensors[next(iter(tensors))]


def with_one_more(tensors: dict[str, Tensor]) -> None:
    tensors["stray.weight"] = torch.zeros(1)


def with_another_shape(tensors: dict[str, Tensor]) -> None:
    tensors[next(iter(tensors))] = torch.zeros(5)


@pytest.mark.parametrize("file", [UNET, VAE, TEXT])
@pytest.mark.parametrize(
    ("change", "message"),
    [
        (without_one, r"1 missing: \w"),
        (with_one_more, r"1 unexpected: stray\.weight"),
        (with_another_shape, r"1 of another shape: \w"),
    ],
)
def test_weights_that_do_not_fit_are_refused(
    copy: Path, file: str, change: Callable[[dict[str, Tensor]], None], message: str
) -> None:
    rewrite(copy / NAME / file, change)
    with pytest.raises(WeightsError, match=f"{Path(file).parent}/ do not fit.*{message}"):
        load_tiny(copy)


@pytest.mark.parametrize("file", [UNET, VAE, TEXT])
def test_a_truncated_file_is_refused(copy: Path, file: str) -> None:
    path = copy / NAME / file
    path.write_bytes(path.read_bytes()[:-4])
    with pytest.raises(WeightsError, match=f"{file}.*safetensors file"):
        load_tiny(copy)


def test_a_pickle_is_refused(copy: Path) -> None:
    torch.save({"a": torch.zeros(1)}, copy / NAME / UNET)
    with pytest.raises(WeightsError, match="are a pickle"):
        load_tiny(copy)


def test_a_checksum_that_is_wrong_is_noticed(copy: Path) -> None:
    (copy / NAME / "SHA256SUMS").write_text(f"{'0' * 64}  {UNET}\n")
    with pytest.raises(WeightsError, match=f"{UNET} are damaged"):
        load_tiny(copy)


@pytest.mark.parametrize(
    ("file", "setting", "value", "says"),
    [
        ("unet/config.json", "class_embed_type", None, "class_embed_type is None, in MVDream it is 'projection'"),
        ("unet/config.json", "projection_class_embeddings_input_dim", 12, "input_dim is 12"),
        ("unet/config.json", "layers_per_block", 1, "layers_per_block is 1"),
        ("unet/config.json", "_class_name", "MultiViewUNetModel", r"unet/config\.json.*'in_channels'|num_res_blocks"),
        ("vae/config.json", "shift_factor", 0.1, r"shift_factor is 0\.1"),
        ("text_encoder/config.json", "hidden_size", 31, r"text_encoder/config\.json"),
        ("text_encoder/config.json", "hidden_act", "quick_gelu", "pads with id 0, but .* pads with its end mark"),
        ("tokenizer/tokenizer_config.json", "pad_token", "<|endoftext|>", r"pads with id \d\d, but .* id 0, '!'"),
    ],
)
def test_settings_of_another_network_are_refused(copy: Path, file: str, setting: str, value: object, says: str) -> None:
    change_settings(copy, file, **{setting: value})
    if file.startswith("tokenizer"):
        change_settings(copy, "tokenizer/special_tokens_map.json", **{setting: value})
    with pytest.raises(WeightsError, match=says):
        load_tiny(copy)


def test_a_text_encoder_of_another_width_is_refused(copy: Path) -> None:
    other = tiny_unet().config["cross_attention_dim"] // 2
    change_settings(copy, "unet/config.json", cross_attention_dim=other)

    def narrow(tensors: dict[str, Tensor]) -> None:
        for name, tensor in tensors.items():
            if name.endswith(("attn2.to_k.weight", "attn2.to_v.weight")):
                tensors[name] = tensor[:, :other].contiguous()

    rewrite(copy / NAME / UNET, narrow)
    with pytest.raises(WeightsError, match="text encoder gives 128 channels, the U-Net takes 64"):
        load_tiny(copy)


def test_a_vocabulary_that_the_text_encoder_does_not_know_is_refused(copy: Path) -> None:
    path = save_vocabulary(copy / NAME / "tokenizer") / "vocab.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"dog</w>": 1000}))
    with pytest.raises(WeightsError, match="tokenizer in tokenizer/"):
        load_tiny(copy)


def test_the_provider_imports_diffusers_on_first_use_alone() -> None:
    code = "import sys, workers.backbones.registry, workers.backbones.mvdream.networks as n; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout.split()
    assert "torch" in loaded
    assert not {"diffusers", "transformers"} & set(loaded)
