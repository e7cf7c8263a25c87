"""Tiny networks with MVDream's topology, in the hub's layout and as the released file has them; no downloads."""

import json
import math
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from diffusers import AutoencoderKL, UNet2DConditionModel
from torch import Tensor, nn
from transformers import CLIPTextConfig, CLIPTextModel

from workers.backbones.base import Compute
from workers.backbones.mvdream.conversion import write_tokenizer
from workers.backbones.mvdream.names import TEXT_NAMES, TEXT_PREFIX, UNET_NAMES, UNET_PREFIX, VAE_NAMES, VAE_PREFIX
from workers.backbones.mvdream.networks import MvdreamNetworks
from workers.backbones.mvdream.topology import HEAD_WIDTH, Layout, heads_of
from workers.backbones.registry import BackboneProvider

NAME = "mvdream"
TEXT_WIDTH = 128
TEXT_LAYERS = 2
MARKS = ("<|startoftext|>", "<|endoftext|>")
WIDTHS = (32, 64, 64, 128)
LAYOUT = Layout(WIDTHS, heads_of(WIDTHS), TEXT_WIDTH, linear_projection=True)


def fill_randomly(network: nn.Module, seed: int) -> None:
    """Draw parameters, sorted by name, so that activations keep their size from layer to layer."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, parameter in sorted(network.named_parameters()):
            drawn = torch.randn(parameter.shape, generator=generator)
            if parameter.ndim == 1:
                parameter.copy_(0.1 * drawn + (1 if name.endswith("weight") else 0))
            else:
                parameter.copy_(drawn / math.sqrt(parameter[0].numel()))


def tiny_unet(layout: Layout = LAYOUT, *, seed: int = 0) -> UNet2DConditionModel:
    """Build the U-Net; 3.3 million parameters by default."""
    unet: UNet2DConditionModel = UNet2DConditionModel.from_config(layout.unet_config())
    fill_randomly(unet, seed)
    return unet.eval()


def tiny_vae() -> AutoencoderKL:
    """Build the autoencoder."""
    vae = AutoencoderKL(
        down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
        block_out_channels=(32, 32, 64, 64),
        layers_per_block=1,
        sample_size=256,
    )
    fill_randomly(vae, 1)
    return vae.eval()


def tiny_text_encoder() -> CLIPTextModel:
    """Build the text encoder: two layers, those of OpenCLIP without its last one."""
    config = CLIPTextConfig(
        vocab_size=len(vocabulary()),
        hidden_size=TEXT_WIDTH,
        intermediate_size=2 * TEXT_WIDTH,
        num_hidden_layers=TEXT_LAYERS,
        num_attention_heads=heads_of((TEXT_WIDTH,))[0],
        hidden_act="gelu",
        bos_token_id=len(vocabulary()) - 2,
        eos_token_id=len(vocabulary()) - 1,
        pad_token_id=0,
    )
    text_encoder = CLIPTextModel(config)
    fill_randomly(text_encoder, 2)
    return text_encoder.eval()


def vocabulary() -> list[str]:
    """List the words by id: the padding, letters, letters at a word's end, and `cat`."""
    letters = [chr(code) for code in range(ord("a"), ord("z") + 1)]
    return ["!", *letters, *(f"{letter}</w>" for letter in letters), ",</w>", "ca", "cat</w>", *MARKS]


def save_vocabulary(folder: Path) -> Path:
    """Write what all tokenizers of CLIP share."""
    (folder / "vocab.json").write_text(json.dumps({word: index for index, word in enumerate(vocabulary())}))
    (folder / "merges.txt").write_text("#version: 0.2\nc a\nca t</w>\n")
    return folder


def save_tiny_checkpoint(folder: Path) -> Path:
    """Write the networks in the hub's layout, with diffusers' names throughout."""
    tiny_unet().save_pretrained(folder / "unet", safe_serialization=True)
    tiny_vae().save_pretrained(folder / "vae", safe_serialization=True)
    tiny_text_encoder().save_pretrained(folder / "text_encoder")
    with TemporaryDirectory() as shared:
        write_tokenizer(save_vocabulary(Path(shared)), folder / "tokenizer")
    return folder


def load_tiny(weights_dir: Path, *, compute: Compute | None = None) -> MvdreamNetworks:
    """Load them as the service does, from the folder `mvdream` of a weights folder."""
    return BackboneProvider(compute=compute, weights_dir=weights_dir).mvdream(NAME)


def official_config(layout: Layout = LAYOUT) -> dict[str, Any]:
    """What the hub's repository says of a U-Net with the official names."""
    return {
        "_class_name": "MultiViewUNetModel",
        "_diffusers_version": "0.25.0",
        "attention_resolutions": [4, 2, 1],
        "camera_dim": 16,
        "channel_mult": [width // layout.widths[0] for width in layout.widths],
        "context_dim": layout.context_width,
        "image_size": 32,
        "in_channels": 4,
        "model_channels": layout.widths[0],
        "num_head_channels": HEAD_WIDTH,
        "num_res_blocks": 2,
        "out_channels": 4,
        "transformer_depth": 1,
    }


def official_unet_tensors(unet: UNet2DConditionModel) -> dict[str, Tensor]:
    """Name a U-Net's tensors as the official code does."""
    return {_known(UNET_NAMES.official(name)): tensor for name, tensor in unet.state_dict().items()}


def save_released(path: Path) -> Path:
    """Write one pickled file with all networks, named and shaped as in the released checkpoint."""
    torch.save(released_state(), path)
    return path


def released_state() -> dict[str, Tensor]:
    """Name all tensors, and one of the schedule's, as in the released checkpoint."""
    parts = {
        UNET_PREFIX: official_unet_tensors(tiny_unet()),
        VAE_PREFIX: official_vae_tensors(),
        TEXT_PREFIX: official_text_tensors(),
        "": {"betas": torch.zeros(1000)},
    }
    return {prefix + name: tensor for prefix, part in parts.items() for name, tensor in part.items()}


def official_vae_tensors() -> dict[str, Tensor]:
    """Name the autoencoder's tensors as the official code does; its attentions have kernels."""
    state = {}
    for name, tensor in tiny_vae().state_dict().items():
        is_kernel = ".attentions." in name and tensor.ndim == 2
        state[_known(VAE_NAMES.official(name))] = tensor[:, :, None, None] if is_kernel else tensor
    return state


def official_text_tensors() -> dict[str, Tensor]:
    """Name the text encoder's tensors as OpenCLIP does, with a last block, which nothing reads."""
    encoder = tiny_text_encoder()
    ours = getattr(encoder, "text_model", encoder).state_dict()
    official = {}
    for layer in range(TEXT_LAYERS):
        for kind in ("weight", "bias"):
            parts = [ours.pop(f"encoder.layers.{layer}.self_attn.{part}_proj.{kind}") for part in "qkv"]
            official[f"transformer.resblocks.{layer}.attn.in_proj_{kind}"] = torch.cat(parts)
    official |= {_known(TEXT_NAMES.official(name)): tensor for name, tensor in ours.items()}
    block = {name: tensor for name, tensor in official.items() if name.startswith("transformer.resblocks.0.")}
    last = {name.replace(".0.", f".{TEXT_LAYERS}.", 1): torch.full_like(block[name], 9.0) for name in block}
    unused = {"text_projection": torch.zeros(TEXT_WIDTH, 8), "logit_scale": torch.zeros(())}
    return {**official, **last, **unused}


def _known(name: str | None) -> str:
    assert name is not None
    return name
