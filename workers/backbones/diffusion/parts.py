"""Parts of a folder in the hub's layout: a network, its settings and its tensors, each in a folder of its own."""

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import torch
from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL
from torch import Tensor, nn
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer

from workers.backbones.diffusion import topology
from workers.backbones.weights.errors import WeightsError
from workers.backbones.weights.tensors import fill, read_tensors

DIFFUSERS_FILE = "diffusion_pytorch_model.safetensors"
TRANSFORMERS_FILE = "model.safetensors"
_PICKLES = (".bin", ".ckpt", ".pt", ".pth")
# Attention's names before diffusers 0.15; the published autoencoder of Stable Diffusion 1.5 still has them.
_OLD_NAMES = {".query.": ".to_q.", ".key.": ".to_k.", ".value.": ".to_v.", ".proj_attn.": ".to_out.0."}
_TEXT_PREFIX = "text_model."
_TEXT_POSITIONS = "embeddings.position_ids"

M = TypeVar("M", bound=nn.Module)


def load_text_encoder(folder: Path) -> CLIPTextModel:
    """Load a text encoder in float32, on the CPU.

    Raises:
        WeightsError: a file is missing, damaged or a pickle, or belongs to another network.
    """
    with configuring(folder):
        text_encoder = CLIPTextModel(CLIPTextConfig(**read_config(folder)))
    tensors = part_tensors(folder / TRANSFORMERS_FILE)
    # Published files name the network within its wrapper and hold a count from 0 to 76, which is not trained.
    bare = {name.removeprefix(_TEXT_PREFIX): tensor for name, tensor in tensors.items()}
    bare.pop(_TEXT_POSITIONS, None)
    fill_part(getattr(text_encoder, "text_model", text_encoder), bare, folder)
    return frozen(text_encoder, torch.device("cpu"))


def load_tokenizer(folder: Path, vocabulary_size: int) -> CLIPTokenizer:
    """Read a tokenizer and hold it against its own list of words.

    Raises:
        WeightsError: it cannot be read, or knows other words than its list or the text encoder.
    """
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


def load_autoencoder(folder: Path) -> AutoencoderKL:
    """Load an autoencoder in float32, on the CPU.

    Raises:
        WeightsError: a file is missing, damaged or a pickle, or belongs to another network.
    """
    with torch.device("meta"), configuring(folder):
        vae: AutoencoderKL = AutoencoderKL.from_config(read_config(folder))
        topology.check_topology(vae.config, topology.VAE)
    tensors = part_tensors(folder / DIFFUSERS_FILE)
    fill_part(vae, {_new_name(name): tensor for name, tensor in tensors.items()}, folder)
    return vae


@contextmanager
def configuring(folder: Path) -> Iterator[None]:
    """Tell of whatever goes wrong while a network is made that the settings in `folder` are wrong."""
    try:
        yield
    except Exception as error:  # the libraries raise errors of many kinds for settings that they do not know
        raise WeightsError(f"{folder.name}/config.json does not describe what belongs there: {error}") from error


def read_config(folder: Path) -> dict[str, Any]:
    """Read the settings of the network in `folder`."""
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    if not isinstance(config, dict):
        raise ValueError("it holds no settings")
    return config


def part_tensors(path: Path) -> dict[str, Tensor]:
    """Read the tensors of a network.

    Raises:
        WeightsError: the file is missing or damaged, or a pickle lies there instead.
    """
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


def fill_part(
    network: nn.Module, tensors: Mapping[str, Tensor], folder: Path, dtype: torch.dtype = torch.float32
) -> None:
    """Give a network its tensors in one precision."""
    fill(network, {name: tensor.to(dtype) for name, tensor in tensors.items()}, source=f"in {folder.name}/")


def frozen(network: M, device: torch.device) -> M:
    """Bring a network that is not trained onto a device."""
    network.train(False).requires_grad_(False)
    network.to(device)
    return network
