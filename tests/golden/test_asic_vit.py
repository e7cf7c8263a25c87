"""The vision transformer's features against values of the official code of ASIC (arXiv 2303.16201)."""

import math
from functools import partial

import pytest
import torch
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor, nn
from torch.testing import assert_close

from workers.backbones.vit.log_bins import log_bins
from workers.backbones.vit.network import View, VitNetwork
from workers.backbones.vit.saliency import attention_saliency
from workers.evaluation.analytic_set import hashed

BLOCK_ORDER = ("norm1", "attn.qkv", "attn.proj", "norm2", "mlp.fc1", "mlp.fc2")


def ordered_names(depth: int) -> list[str]:
    modules = ["patch_embed.proj", *(f"blocks.{i}.{part}" for i in range(depth) for part in BLOCK_ORDER), "norm"]
    return ["cls_token", "pos_embed", *(f"{module}.{kind}" for module in modules for kind in ("weight", "bias"))]


def fill(model: VisionTransformer) -> None:
    parameters = dict(model.named_parameters())
    names = ordered_names(len(model.blocks))
    assert sorted(names) == sorted(parameters)
    with torch.no_grad():
        for j, name in enumerate(names):
            parameter = parameters[name]
            values = torch.from_numpy(hashed(parameter.numel(), j))
            if parameter.ndim > 1:
                values = values * math.sqrt(12) * math.sqrt(2 / (parameter.numel() / parameter.shape[0]))
            else:
                values = 0.2 * values + (1 if name.endswith("weight") else 0)
            parameter.copy_(values.view_as(parameter))


@pytest.fixture(scope="module")
def network() -> VitNetwork:
    model = VisionTransformer(
        img_size=32,
        patch_size=8,
        embed_dim=12,
        depth=12,
        num_heads=6,
        mlp_ratio=2,
        num_classes=0,
        norm_layer=partial(nn.LayerNorm, eps=1e-5),
    ).eval()
    fill(model)
    return VitNetwork(model, digest="")


@pytest.fixture(scope="module")
def maps(network: VitNetwork) -> dict[str, Tensor]:
    y, x = torch.meshgrid(torch.arange(16.0), torch.arange(16.0), indexing="ij")
    wave = torch.stack([torch.sin(0.2 * x + 0.1 * y * (c + 1)) for c in range(3)])[None]
    views = [View(9, "key"), View(11, "key"), View(11, "attention")]
    return dict(zip(("layer 9", "layer 11", "attention"), network.describe(wave, views, stride=2), strict=True))


def numbers(text: str) -> Tensor:
    return torch.tensor([float(number) for number in text.split()])


def test_keys_of_layer_9_match(maps: dict[str, Tensor]) -> None:
    keys = maps["layer 9"][0].flatten(1)
    first = "1.035778 -.379709 1.281081 .007512 -.240192 -2.000904 2.319644 .549481 1.411657 -.074575 2.666731 .088925"
    last = "2.581417 -.107472 1.737619 .597734 .797741 -2.865197 2.575552 -1.363957 2.066667 .404313 1.953427 .027667"
    assert_close(keys[:, 0], numbers(first), atol=1e-4, rtol=0)
    assert_close(keys[:, 24], numbers(last), atol=1e-4, rtol=0)
    assert float(keys.norm()) == pytest.approx(30.423689, abs=1e-4)


def test_keys_of_layer_11_match(maps: dict[str, Tensor]) -> None:
    keys = maps["layer 11"][0].flatten(1)
    middle = (
        "-1.138175 -.090487 .822542 -.530457 -1.179092 4.377814 .909084 .448665 -1.907899 -.124072 1.399207 -.257947"
    )
    assert_close(keys[:, 12], numbers(middle), atol=1e-4, rtol=0)
    assert float(keys.norm()) == pytest.approx(26.621380, abs=1e-4)


def test_log_bins_match(maps: dict[str, Tensor]) -> None:
    binned = log_bins(maps["layer 9"])[0].flatten(1)
    assert binned.shape == (204, 25)
    assert float(binned.norm()) == pytest.approx(124.60707, abs=1e-4)
    assert_close(binned[60:63, 12], numbers("2.495848 -.038609 2.101272"), atol=1e-4, rtol=0)
    assert_close(binned[201:204, 0], numbers(".636481 1.381092 -.085127"), atol=1e-4, rtol=0)


def test_saliency_matches(maps: dict[str, Tensor]) -> None:
    saliency = attention_saliency(maps["attention"], (0, 2, 4, 5)).flatten()
    assert_close(saliency[:6], numbers("0 .232137 .349751 .310292 .246803 .286326"), atol=1e-4, rtol=0)
    assert (int(saliency.argmax()), int(saliency.argmin())) == (22, 0)
    assert float(saliency.mean()) == pytest.approx(0.499546, abs=1e-4)


@torch.no_grad()
def test_position_embedding_matches(network: VitNetwork) -> None:
    position = network.position(5, 5)[0, :, :3]
    assert_close(position[1], numbers(".023006 -.070562 .017832"), atol=1e-5, rtol=0)
    assert_close(position[25], numbers(".019378 -.069774 .067425"), atol=1e-5, rtol=0)
