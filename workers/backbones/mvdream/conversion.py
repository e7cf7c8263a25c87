"""The released checkpoint of MVDream, one pickled file, as a folder in the hub's layout, safetensors only."""

import json
import pickle
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL
from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel
from safetensors.torch import save_file
from torch import Tensor
from transformers import CLIPTextConfig, CLIPTextModel

from workers.backbones.diffusion.parts import DIFFUSERS_FILE, TRANSFORMERS_FILE
from workers.backbones.mvdream.names import (
    TEXT_NAMES,
    TEXT_PREFIX,
    UNET_NAMES,
    UNET_PREFIX,
    VAE_NAMES,
    VAE_PREFIX,
    Names,
)
from workers.backbones.mvdream.topology import SD15, Layout, heads_of
from workers.backbones.weights.checksums import sha256_of, write_sums
from workers.backbones.weights.errors import WeightsError
from workers.backbones.weights.tensors import fill

TOKENIZER_FILES = ("vocab.json", "merges.txt")
SCALING_FACTOR = 0.18215

_START, _END, _PADDING = "<|startoftext|>", "<|endoftext|>", "!"
_UNUSED_TEXT = ("text_projection", "logit_scale", "attn_mask")
"""What OpenCLIP needs to compare texts with pictures."""
_JOINT = ".attn.in_proj_"

State = Mapping[str, Tensor]


def convert(checkpoint: Path, tokenizer: Path, target: Path) -> None:
    """Write `unet/`, `vae/`, `text_encoder/`, `tokenizer/` and their checksums, in the precision of the checkpoint.

    Args:
        checkpoint: `sd-v2.1-base-4view.pt` as released. Read as tensors alone: no code in it is run.
        tokenizer: folder with CLIP's `vocab.json` and `merges.txt`, which all versions of Stable Diffusion share.
        target: folder to write; it must not be there, and is there only when all went well.

    Raises:
        WeightsError: a file cannot be read or holds another network, or the target is there already.
    """
    if target.exists():
        raise WeightsError(f"{target} is there already; move it away to convert {checkpoint.name} into it")
    state = read_checkpoint(checkpoint)
    draft = target.with_name(f".{target.name}.converting")
    shutil.rmtree(draft, ignore_errors=True)
    try:
        draft.mkdir(parents=True)
        for write in (_write_unet, _write_vae, _write_text_encoder):
            write(state, draft)
        write_tokenizer(tokenizer, draft / "tokenizer")
        files = sorted(path for path in draft.rglob("*") if path.is_file())
        write_sums(draft, {str(path.relative_to(draft)): sha256_of(path) for path in files})
        draft.replace(target)
    except OSError as error:
        raise WeightsError(f"{target} cannot be written: {error.strerror or error}") from error
    finally:
        shutil.rmtree(draft, ignore_errors=True)


def read_checkpoint(path: Path) -> dict[str, Tensor]:
    """Read the tensors of a pickled file by name, mapped into memory.

    Raises:
        WeightsError: there is none, it is damaged, or it holds more than tensors.
    """
    try:
        state = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
    except (OSError, RuntimeError, EOFError, ValueError, pickle.UnpicklingError) as error:
        first = str(error).partition("\n")[0]
        raise WeightsError(f"{path} cannot be read as a checkpoint of tensors alone: {first}") from error
    if not isinstance(state, dict) or not all(isinstance(tensor, Tensor) for tensor in state.values()):
        raise WeightsError(f"{path} is not the released checkpoint, which holds tensors by name and nothing else")
    return dict(state)


def unet_tensors(state: State) -> dict[str, Tensor]:
    """Give the tensors of an official U-Net, named without prefix, the names that diffusers has.

    Raises:
        WeightsError: a name is unknown.
    """
    return _renamed(state, UNET_NAMES)


def vae_tensors(state: State) -> dict[str, Tensor]:
    """Do the same for the autoencoder, whose attentions' 1 x 1 kernels become matrices.

    Raises:
        WeightsError: a name is unknown.
    """
    renamed = _renamed(state, VAE_NAMES)
    return {
        name: tensor.flatten(1) if ".attentions." in name and tensor.ndim > 1 else tensor
        for name, tensor in renamed.items()
    }


def text_tensors(state: State) -> dict[str, Tensor]:
    """Do the same for OpenCLIP's text encoder, without its last block: MVDream reads the state before it.

    Raises:
        WeightsError: a name is unknown.
    """
    last = f"transformer.resblocks.{_text_blocks(state) - 1}."
    used = {name: tensor for name, tensor in state.items() if not name.startswith((*_UNUSED_TEXT, last))}
    joint = {name: used.pop(name) for name in list(used) if _JOINT in name}
    tensors = _renamed(used, TEXT_NAMES)
    for name, tensor in joint.items():
        block, _, kind = name.partition(_JOINT)
        layer = block.rpartition(".")[2]
        for part, rows in zip("qkv", tensor.chunk(3), strict=True):
            tensors[f"encoder.layers.{layer}.self_attn.{part}_proj.{kind}"] = rows
    return tensors


def unet_layout(state: State) -> Layout:
    """Tell from the tensors of an official U-Net, named without prefix, how it is built.

    Raises:
        KeyError: it is another network.
    """
    widths = tuple(len(state[f"input_blocks.{3 * level + 1}.0.in_layers.2.bias"]) for level in range(4))
    context_width = state["middle_block.1.transformer_blocks.0.attn2.to_k.weight"].shape[1]
    is_linear = state["middle_block.1.proj_in.weight"].ndim == 2
    return Layout(widths, heads_of(widths) if is_linear else SD15.heads, context_width, is_linear)


def write_tokenizer(source: Path, target: Path) -> None:
    """Write CLIP's vocabulary with the padding of OpenCLIP, "!", which Stable Diffusion 1.x pads otherwise.

    Raises:
        WeightsError: a file is missing, or it is another vocabulary.
    """
    missing = [name for name in TOKENIZER_FILES if not (source / name).is_file()]
    if missing:
        raise WeightsError(
            f"{source} has no {' and no '.join(missing)}; name the folder tokenizer/ of any Stable Diffusion checkpoint"
        )
    vocabulary = json.loads((source / TOKENIZER_FILES[0]).read_text(encoding="utf-8"))
    if vocabulary.get(_PADDING) != 0 or not {_START, _END} <= vocabulary.keys():
        raise WeightsError(f"{source / TOKENIZER_FILES[0]} is not CLIP's vocabulary, in which {_PADDING!r} has id 0")
    target.mkdir()
    for name in TOKENIZER_FILES:
        shutil.copyfile(source / name, target / name)
    named = {
        name: {"content": mark, "normalized": True}
        for name, mark in (("bos_token", _START), ("eos_token", _END), ("unk_token", _END))
    }
    typed = {name: {"__type": "AddedToken", **mark} for name, mark in named.items()}
    settings = {"tokenizer_class": "CLIPTokenizer", "model_max_length": 77, "do_lower_case": True}
    contents: dict[str, dict[str, Any]] = {
        "special_tokens_map.json": {**named, "pad_token": _PADDING},
        "tokenizer_config.json": {**typed, **settings, "pad_token": _PADDING},
    }
    for name, content in contents.items():
        (target / name).write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")


def _write_unet(state: State, folder: Path) -> None:
    official = _part(state, UNET_PREFIX)
    layout = _read(lambda: unet_layout(official), "U-Net of MVDream")
    with torch.device("meta"):
        unet: UNet2DConditionModel = UNet2DConditionModel.from_config(layout.unet_config())
    _write(unet, unet_tensors(official), folder / "unet" / DIFFUSERS_FILE)
    unet.save_config(folder / "unet")


def _write_vae(state: State, folder: Path) -> None:
    official = _part(state, VAE_PREFIX)
    config = _read(lambda: _vae_config(official), "autoencoder")
    with torch.device("meta"):
        vae: AutoencoderKL = AutoencoderKL.from_config(config)
    _write(vae, vae_tensors(official), folder / "vae" / DIFFUSERS_FILE)
    vae.save_config(folder / "vae")


def _write_text_encoder(state: State, folder: Path) -> None:
    official = _part(state, TEXT_PREFIX)
    config = _read(lambda: _text_config(official), "text encoder of OpenCLIP")
    with torch.device("meta"):
        text_encoder = CLIPTextModel(config)
    _write(text_encoder, text_tensors(official), folder / "text_encoder" / TRANSFORMERS_FILE)
    config.save_pretrained(folder / "text_encoder")


def _vae_config(state: State) -> dict[str, Any]:
    widths = [len(state[f"encoder.down.{level}.block.0.conv1.bias"]) for level in range(4)]
    layers = sum(f"encoder.down.0.block.{layer}.conv1.bias" in state for layer in range(3))
    return {
        "block_out_channels": widths,
        "layers_per_block": layers,
        "down_block_types": ["DownEncoderBlock2D"] * 4,
        "up_block_types": ["UpDecoderBlock2D"] * 4,
        "latent_channels": state["post_quant_conv.weight"].shape[0],
        "sample_size": 256,
        "scaling_factor": SCALING_FACTOR,
    }


def _text_config(state: State) -> CLIPTextConfig:
    vocabulary, width = state["token_embedding.weight"].shape
    return CLIPTextConfig(
        vocab_size=vocabulary,
        hidden_size=width,
        intermediate_size=len(state["transformer.resblocks.0.mlp.c_fc.bias"]),
        num_hidden_layers=_text_blocks(state) - 1,
        num_attention_heads=heads_of((width,))[0],
        max_position_embeddings=len(state["positional_embedding"]),
        hidden_act="gelu",
        bos_token_id=vocabulary - 2,
        eos_token_id=vocabulary - 1,
        pad_token_id=0,
        architectures=["CLIPTextModel"],
    )


def _text_blocks(state: State) -> int:
    return len({name.split(".")[2] for name in state if name.startswith("transformer.resblocks.")})


def _part(state: State, prefix: str) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): tensor for name, tensor in state.items() if name.startswith(prefix)}


def _read(look: Callable[[], Any], what: str) -> Any:
    try:
        return look()
    except KeyError as error:
        raise WeightsError(
            f"the checkpoint holds no {error.args[0]} and so no {what}; convert sd-v2.1-base-4view.pt, as released"
        ) from error


def _renamed(state: State, names: Names) -> dict[str, Tensor]:
    renamed = {name: names.ours(name) for name in state}
    unknown = sorted(name for name, ours in renamed.items() if ours is None)
    if unknown:
        raise WeightsError(
            f"{len(unknown)} tensors have names that MVDream does not have, {unknown[0]} for one; bring the released "
            "checkpoint"
        )
    return {ours: state[name] for name, ours in renamed.items() if ours is not None}


def _write(network: torch.nn.Module, tensors: dict[str, Tensor], path: Path) -> None:
    fill(network, tensors, source=f"of {path.parent.name}")
    path.parent.mkdir()
    save_file({name: _own(tensor) for name, tensor in tensors.items()}, path, metadata={"format": "pt"})


def _own(tensor: Tensor) -> Tensor:
    """Copy what is part of a larger tensor, as safetensors writes no shared memory."""
    is_part = tensor.untyped_storage().nbytes() != tensor.nbytes
    return tensor.contiguous().clone() if is_part else tensor.contiguous()
