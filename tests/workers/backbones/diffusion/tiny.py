"""A tiny network with the topology of Stable Diffusion 1.x, filled by formulas: no random numbers, no downloads.

The formulas are those under which the golden values were computed with the papers' official code.
"""

import json
import math
from pathlib import Path

import torch
from diffusers import AutoencoderKL, UNet2DConditionModel
from torch import Tensor, nn
from transformers import CLIPTextConfig, CLIPTextModel

from api_schemas.weights import weights_catalogue
from workers.backbones.base import Compute
from workers.backbones.diffusion.loading import load_networks, load_stable_diffusion
from workers.backbones.diffusion.stable_diffusion import StableDiffusion
from workers.backbones.weights.folder import WeightsFolder, open_entry

GOLDEN_RATIO = 0.6180339887498949
PLASTIC_RATIO = 0.7548776662466927
WIDTHS = (32, 64, 64, 64)
LATENT_GAIN = 25
MARKS = ("<|startoftext|>", "<|endoftext|>")


def fill(network: nn.Module) -> None:
    """Fill the parameters, sorted by name, with low-discrepancy numbers of mean 0 and deviation 1 / sqrt(fan-in)."""
    with torch.no_grad():
        for k, (name, parameter) in enumerate(sorted(network.named_parameters())):
            if parameter.ndim == 1:
                parameter.fill_(1 if name.endswith("weight") else 0)
                continue
            index = torch.arange(parameter.numel(), dtype=torch.float64)
            uniform = (index * GOLDEN_RATIO + PLASTIC_RATIO * (k + 1)).frac()
            values = math.sqrt(12) * (uniform - 0.5) / math.sqrt(parameter[0].numel())
            parameter.copy_(values.view_as(parameter))


def tiny_unet() -> UNet2DConditionModel:
    """Build the U-Net: 3.2 million parameters, the layers' names and heads as in the original."""
    unet = UNet2DConditionModel(
        sample_size=64,
        in_channels=4,
        out_channels=4,
        flip_sin_to_cos=True,
        freq_shift=0,
        down_block_types=("CrossAttnDownBlock2D",) * 3 + ("DownBlock2D",),
        up_block_types=("UpBlock2D",) + ("CrossAttnUpBlock2D",) * 3,
        block_out_channels=WIDTHS,
        layers_per_block=2,
        downsample_padding=1,
        mid_block_scale_factor=1,
        act_fn="silu",
        norm_num_groups=8,
        norm_eps=1e-5,
        cross_attention_dim=32,
        attention_head_dim=8,
    )
    fill(unet)
    return unet.eval()


def tiny_vae() -> AutoencoderKL:
    """Build the autoencoder; its latents are scaled so that noise does not swamp the picture."""
    vae = AutoencoderKL(
        in_channels=3,
        out_channels=3,
        down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
        block_out_channels=(8, 16, 16, 16),
        layers_per_block=1,
        latent_channels=4,
        norm_num_groups=4,
        act_fn="silu",
        sample_size=512,
    )
    fill(vae)
    with torch.no_grad():
        vae.quant_conv.weight.mul_(LATENT_GAIN)
    return vae.eval()


def tiny_text_encoder() -> CLIPTextModel:
    """Build the text encoder."""
    config = CLIPTextConfig(
        vocab_size=1000,
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        max_position_embeddings=77,
        bos_token_id=0,
        eos_token_id=2,
        pad_token_id=1,
    )
    text_encoder = CLIPTextModel(config)
    fill(text_encoder)
    return text_encoder.eval()


def save_tokenizer(folder: Path) -> None:
    """Write the four files that the hub has: letters, letters at a word's end, and the word `cat`."""
    letters = [chr(code) for code in range(ord("a"), ord("z") + 1)]
    words = [*letters, *(f"{letter}</w>" for letter in letters), "ca", "cat</w>", *MARKS]
    start, end = ({"content": mark, "normalized": True} for mark in MARKS)
    marks = {"bos_token": start, "eos_token": end, "unk_token": end, "pad_token": MARKS[1]}
    kind = {"__type": "AddedToken"}
    typed = {"bos_token": kind | start, "eos_token": kind | end, "unk_token": kind | end, "pad_token": MARKS[1]}
    folder.mkdir(parents=True)
    (folder / "vocab.json").write_text(json.dumps({word: index for index, word in enumerate(words)}))
    (folder / "merges.txt").write_text("#version: 0.2\nc a\nca t</w>\n")
    (folder / "special_tokens_map.json").write_text(json.dumps(marks))
    settings = {"tokenizer_class": "CLIPTokenizer", "model_max_length": 77, "do_lower_case": True}
    (folder / "tokenizer_config.json").write_text(json.dumps(typed | settings))


def save_tiny(folder: Path) -> Path:
    """Write the network in the hub's layout."""
    tiny_unet().save_pretrained(folder / "unet", safe_serialization=True)
    tiny_vae().save_pretrained(folder / "vae", safe_serialization=True)
    tiny_text_encoder().save_pretrained(folder / "text_encoder")
    save_tokenizer(folder / "tokenizer")
    return folder


def open_tiny(weights_dir: Path) -> WeightsFolder:
    """Find it in a weights folder as the service finds `sd15`, but for the published checksums."""
    entry = weights_catalogue()["sd15"]
    files = tuple(file.model_copy(update={"sha256": None}) for file in entry.files)
    return open_entry("sd15", entry.model_copy(update={"files": files}), weights_dir)


def load_tiny(weights_dir: Path, **compute: object) -> StableDiffusion:
    """Load it as the service does."""
    folder = open_tiny(weights_dir)
    return load_stable_diffusion(folder, load_networks(folder, Compute(**compute)))


def picture(height: int, width: int, phase: float = 0.0) -> Tensor:
    """Smooth colours (1, 3, height, width) in [0, 1], given by a formula in a pixel's place and channel."""
    y, x, k = torch.meshgrid(
        torch.arange(height, dtype=torch.float64) / height,
        torch.arange(width, dtype=torch.float64) / width,
        torch.arange(3, dtype=torch.float64),
        indexing="ij",
    )
    turn = 2 * math.pi
    waves = torch.sin(turn * ((3 + k) * x + phase) + 1.7 * k) * torch.cos(
        turn * ((2 + 2 * k) * y - 0.3 * phase) + 0.9 * k
    )
    hyperbolas = torch.sin(turn * (7 * x * y + 0.37 * k) + 5 * phase)
    rings = torch.cos(turn * (5 * x.square() + 4 * (y - 0.3).square()) + k)
    colours = 0.5 + 0.18 * waves + 0.16 * hyperbolas + 0.12 * rings
    return colours.clamp(0, 1).float().permute(2, 0, 1)[None]


def context(seed: int = 0) -> Tensor:
    """Normally distributed numbers (1, 77, 32) without a generator (Box and Muller's formula)."""
    count = 77 * 32
    index = torch.arange(count, dtype=torch.float64) + 1000 * seed
    radius = (index * GOLDEN_RATIO + 0.5 / count + 0.013).frac().clamp_min(1e-9)
    angle = (index * PLASTIC_RATIO + 0.29).frac()
    values = (-2 * radius.log()).sqrt() * (2 * math.pi * angle).cos()
    return values.float().view(1, 77, 32)


def save_own_checkpoint(weights_dir: Path, name: str) -> Path:
    """Write the U-Net and the autoencoder below a weights folder, and the catalogue that names them; return that."""
    folder = weights_dir / name
    tiny_unet().save_pretrained(folder / "unet", safe_serialization=True)
    tiny_vae().save_pretrained(folder / "vae", safe_serialization=True)
    files = "".join(
        f'[[{name}.files]]\npath = "{path.relative_to(folder)}"\nbytes = {path.stat().st_size}\n'
        for path in sorted(folder.rglob("*.*"))
    )
    catalogue = weights_dir / "catalogue.toml"
    catalogue.write_text(f'[{name}]\nhub = "me/{name}"\nlicense = "CC0-1.0"\nfamily = "stable_diffusion"\n{files}')
    return catalogue
