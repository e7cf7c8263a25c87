import json
import shutil
import socket
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor
from torch.testing import assert_close

from tests.workers.backbones.diffusion.tiny import load_tiny, open_tiny, tiny_text_encoder, tiny_unet, tiny_vae
from workers.backbones.base import Compute
from workers.backbones.diffusion.loading import load_networks, load_stable_diffusion
from workers.backbones.diffusion.stable_diffusion import StableDiffusion
from workers.backbones.weights.folder import WeightsError

UNET = "unet/diffusion_pytorch_model.safetensors"
VAE = "vae/diffusion_pytorch_model.safetensors"
TEXT = "text_encoder/model.safetensors"


@pytest.fixture
def copy(weights_dir: Path, tmp_path: Path) -> Path:
    """A weights folder to damage."""
    shutil.copytree(weights_dir / "sd15", tmp_path / "sd15")
    return tmp_path


def rewrite(path: Path, change: Callable[[dict[str, Tensor]], None]) -> None:
    """Change the tensors of a file."""
    tensors = load_file(path)
    change(tensors)
    save_file(tensors, path)


def test_networks_hold_the_stored_weights(diffusion: StableDiffusion) -> None:
    whole = tiny_unet().state_dict()
    kept = diffusion.unet.state_dict()
    assert {name for name in whole if name not in kept} == {
        "conv_norm_out.weight", "conv_norm_out.bias", "conv_out.weight", "conv_out.bias",
    }  # fmt: skip
    for name, tensor in kept.items():
        assert_close(tensor, whole[name], rtol=0, atol=0)
    assert diffusion.name == "sd15"
    assert len(diffusion.digest) == 64


def test_networks_are_frozen(diffusion: StableDiffusion) -> None:
    for network in (diffusion.unet, diffusion.vae, diffusion.prompts.text_encoder):
        assert not network.training
        assert not any(parameter.requires_grad for parameter in network.parameters())


def test_the_decoder_that_makes_pictures_is_dropped(diffusion: StableDiffusion) -> None:
    names = {name.partition(".")[0] for name in diffusion.vae.state_dict()}
    assert names == {"encoder", "quant_conv"}


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_only_the_unet_takes_half_precision(weights_dir: Path, dtype: torch.dtype) -> None:
    half = load_tiny(weights_dir, dtype=dtype)
    assert {parameter.dtype for parameter in half.unet.parameters()} == {dtype}
    for network in (half.vae, half.prompts.text_encoder):
        assert {parameter.dtype for parameter in network.parameters()} == {torch.float32}


def test_loading_opens_no_connection(weights_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise AssertionError("a connection was tried")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    load_tiny(weights_dir)


def test_published_names_of_the_autoencoder_load(copy: Path) -> None:
    names = {"to_q": "query", "to_k": "key", "to_v": "value", "to_out.0": "proj_attn"}

    def age(tensors: dict[str, Tensor]) -> None:
        for name in list(tensors):
            old = name
            for new_part, old_part in names.items():
                old = old.replace(f"attentions.0.{new_part}.", f"attentions.0.{old_part}.")
            tensors[old] = tensors.pop(name)
        assert "encoder.mid_block.attentions.0.proj_attn.weight" in tensors

    rewrite(copy / "sd15" / VAE, age)
    loaded = load_tiny(copy).vae.encoder.mid_block.attentions[0].to_out[0].weight
    assert_close(loaded, tiny_vae().encoder.mid_block.attentions[0].to_out[0].weight, rtol=0, atol=0)


def test_published_names_of_the_text_encoder_load(copy: Path) -> None:
    def wrap(tensors: dict[str, Tensor]) -> None:
        for name in list(tensors):
            tensors[f"text_model.{name.removeprefix('text_model.')}"] = tensors.pop(name)
        tensors["text_model.embeddings.position_ids"] = torch.arange(77)[None]

    rewrite(copy / "sd15" / TEXT, wrap)
    loaded = load_tiny(copy).prompts.text_encoder.get_input_embeddings().weight
    assert_close(loaded, tiny_text_encoder().get_input_embeddings().weight, rtol=0, atol=0)


def without_one(tensors: dict[str, Tensor]) -> None:
    del tensors[next(iter(tensors))]


def with_one_more(tensors: dict[str, Tensor]) -> None:
    tensors["stray.weight"] = torch.zeros(1)


def with_another_shape(tensors: dict[str, Tensor]) -> None:
    name = next(iter(tensors))
    tensors[name] = torch.zeros(5)


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
    rewrite(copy / "sd15" / file, change)
    with pytest.raises(WeightsError, match=f"{Path(file).parent}/ do not fit.*{message}"):
        load_tiny(copy)


def test_many_faults_are_counted_and_some_named(copy: Path) -> None:
    rewrite(copy / "sd15" / VAE, lambda tensors: [tensors.pop(name) for name in sorted(tensors)[:9]])
    with pytest.raises(WeightsError, match=r"9 missing: (decoder[\w.]+, ){3}\.\.\."):
        load_tiny(copy)


@pytest.mark.parametrize("file", [UNET, VAE, TEXT])
def test_truncated_file_is_refused(copy: Path, file: str) -> None:
    path = copy / "sd15" / file
    path.write_bytes(path.read_bytes()[:-4])
    with pytest.raises(WeightsError, match=f"{file}.*safetensors file"):
        load_tiny(copy)


def test_pickle_in_place_of_safetensors_is_refused(copy: Path) -> None:
    folder = open_tiny(copy)
    (copy / "sd15" / UNET).unlink()
    torch.save({}, copy / "sd15" / "unet" / "diffusion_pytorch_model.bin")
    with pytest.raises(WeightsError, match=r"diffusion_pytorch_model\.bin, a pickle.*bring .*safetensors"):
        load_stable_diffusion(folder, load_networks(folder, Compute()))
    with pytest.raises(WeightsError, match="weights pull sd15"):
        load_tiny(copy)


@pytest.mark.parametrize(
    ("part", "setting", "value", "message"),
    [
        ("unet", "class_embed_type", "timestep", "class_embed_type is 'timestep'"),
        ("unet", "layers_per_block", 1, "layers_per_block is 1"),
        ("unet", "norm_num_groups", 7, r"unet/config\.json"),
        ("vae", "shift_factor", 0.1, r"shift_factor is 0\.1"),
        ("text_encoder", "hidden_size", 31, r"text_encoder/config\.json"),
    ],
)
def test_settings_of_another_network_are_refused(
    copy: Path, part: str, setting: str, value: object, message: str
) -> None:
    path = copy / "sd15" / part / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {setting: value}))
    with pytest.raises(WeightsError, match=message):
        load_tiny(copy)


@pytest.mark.parametrize("text", ["", "[]", '"unet"'])
def test_settings_that_are_none_are_refused(copy: Path, text: str) -> None:
    (copy / "sd15" / "unet" / "config.json").write_text(text)
    with pytest.raises(WeightsError, match=r"unet/config\.json"):
        load_tiny(copy)


@pytest.mark.parametrize("text", ["", "{}", '{"a": 1000, "<|startoftext|>": 0, "<|endoftext|>": 1}'])
def test_tokenizer_of_another_network_is_refused(copy: Path, text: str) -> None:
    (copy / "sd15" / "tokenizer" / "vocab.json").write_text(text)
    with pytest.raises(WeightsError, match="tokenizer in tokenizer/"):
        load_tiny(copy)
