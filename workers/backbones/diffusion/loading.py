"""Stable Diffusion 1.x and 2.x from a folder in the hub's layout: local safetensors, every tensor accounted for."""

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import torch
from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL
from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel
from torch import Tensor, nn
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer

from workers.backbones.base import Compute
from workers.backbones.diffusion import topology
from workers.backbones.diffusion.networks import DiffusionNetworks
from workers.backbones.diffusion.prompts import PromptEncoder
from workers.backbones.diffusion.stable_diffusion import StableDiffusion
from workers.backbones.diffusion.vae import VaeEncoder
from workers.backbones.weights.errors import WeightsError
from workers.backbones.weights.folder import WeightsFolder
from workers.backbones.weights.tensors import fill, read_tensors

_DIFFUSERS_FILE = "diffusion_pytorch_model.safetensors"
_TRANSFORMERS_FILE = "model.safetensors"
_PICKLES = (".bin", ".ckpt", ".pt", ".pth")
# Attention's names before diffusers 0.15; the published autoencoder of Stable Diffusion 1.5 still has them.
_OLD_NAMES = {".query.": ".to_q.", ".key.": ".to_k.", ".value.": ".to_v.", ".proj_attn.": ".to_out.0."}
_TEXT_PREFIX = "text_model."
_TEXT_POSITIONS = "embeddings.position_ids"

M = TypeVar("M", bound=nn.Module)


def load_networks(folder: WeightsFolder, compute: Compute) -> DiffusionNetworks:
    """Load the U-Net and the autoencoder's encoder, without the parts that nothing here needs.

    Left out, once they were found whole: the autoencoder's decoder, 60 % of it, as no picture is ever made, and the
    U-Net's output convolution. The U-Net's last decoder block stays: DIFT may read it. Both go onto the device.

    Raises:
        WeightsError: a file is missing, damaged or a pickle, or belongs to another network.
    """
    unet = _load_unet(folder.path / "unet", compute)
    vae = _load_vae(folder.path / "vae", compute)
    return DiffusionNetworks(folder.name, folder.digest, compute, unet, vae)


def load_stable_diffusion(folder: WeightsFolder, networks: DiffusionNetworks) -> StableDiffusion:
    """Join loaded networks with their text encoder, which stays on the CPU, see `PromptEncoder`.

    Raises:
        WeightsError: a file is missing, damaged or a pickle, or belongs to another network.
    """
    text_encoder = _load_text_encoder(folder.path / "text_encoder")
    tokenizer = _load_tokenizer(folder.path / "tokenizer", int(text_encoder.config.vocab_size))
    prompts = PromptEncoder(tokenizer, text_encoder)
    return StableDiffusion(networks.name, networks.digest, networks.compute, networks.unet, networks.vae, prompts)


def _load_unet(folder: Path, compute: Compute) -> UNet2DConditionModel:
    with torch.device("meta"), _configuring(folder):
        unet: UNet2DConditionModel = UNet2DConditionModel.from_config(_config(folder))
        topology.check_topology(unet.config, topology.UNET)
    _fill(unet, _tensors(folder / _DIFFUSERS_FILE), folder, compute.dtype)
    # The network's own `forward` still runs, and ends with the decoder's output.
    unet.register_module("conv_norm_out", None)
    unet.register_module("conv_out", nn.Identity())
    return _frozen(unet, compute.device)


def _load_vae(folder: Path, compute: Compute) -> VaeEncoder:
    with torch.device("meta"), _configuring(folder):
        vae: AutoencoderKL = AutoencoderKL.from_config(_config(folder))
        topology.check_topology(vae.config, topology.VAE)
    tensors = _tensors(folder / _DIFFUSERS_FILE)
    _fill(vae, {_new_name(name): tensor for name, tensor in tensors.items()}, folder)
    return _frozen(VaeEncoder(vae), compute.device)


def _load_text_encoder(folder: Path) -> CLIPTextModel:
    with _configuring(folder):
        text_encoder = CLIPTextModel(CLIPTextConfig(**_config(folder)))
    tensors = _tensors(folder / _TRANSFORMERS_FILE)
    # Published files name the network within its wrapper and hold a count from 0 to 76, which is not trained.
    bare = {name.removeprefix(_TEXT_PREFIX): tensor for name, tensor in tensors.items()}
    bare.pop(_TEXT_POSITIONS, None)
    _fill(getattr(text_encoder, "text_model", text_encoder), bare, folder)
    return _frozen(text_encoder, torch.device("cpu"))


def _load_tokenizer(folder: Path, vocabulary_size: int) -> CLIPTokenizer:
    try:
        tokenizer: CLIPTokenizer = CLIPTokenizer.from_pretrained(folder, local_files_only=True)
        vocabulary: dict[str, int] = json.loads((folder / "vocab.json").read_text(encoding="utf-8"))
    except Exception as error:  # the tokenizer's compiled part raises nothing narrower
        raise WeightsError(f"the tokenizer in {folder.name}/ cannot be read: {error}") from error
    # A tokenizer that overlooks its vocabulary takes three words for the whole language, and says nothing.
    if tokenizer.get_vocab() != vocabulary or max(vocabulary.values()) >= vocabulary_size:
        raise WeightsError(
            f"the tokenizer in {folder.name}/ knows {len(tokenizer)} words, its vocab.json {len(vocabulary)} and the "
            f"text encoder {vocabulary_size}; bring the three from one repository"
        )
    return tokenizer


@contextmanager
def _configuring(folder: Path) -> Iterator[None]:
    try:
        yield
    except Exception as error:  # the libraries raise errors of many kinds for settings that they do not know
        raise WeightsError(f"{folder.name}/config.json does not describe what belongs there: {error}") from error


def _config(folder: Path) -> dict[str, Any]:
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    if not isinstance(config, dict):
        raise ValueError("it holds no settings")
    return config


def _tensors(path: Path) -> dict[str, Tensor]:
    pickles = [other.name for other in path.parent.iterdir() if other.suffix in _PICKLES]
    if pickles and not path.is_file():
        raise WeightsError(
            f"{path.parent.name}/ has {', '.join(sorted(pickles))}, a pickle, which can run any code when it is read; "
            f"bring {path.name} instead"
        )
    return read_tensors(path)


def _new_name(name: str) -> str:
    for old, new in _OLD_NAMES.items():
        name = name.replace(old, new)
    return name


def _fill(network: nn.Module, tensors: Mapping[str, Tensor], folder: Path, dtype: torch.dtype = torch.float32) -> None:
    """Give a network its tensors in one precision."""
    fill(network, {name: tensor.to(dtype) for name, tensor in tensors.items()}, source=f"in {folder.name}/")


def _frozen(network: M, device: torch.device) -> M:
    network.train(False).requires_grad_(False)
    network.to(device)
    return network
