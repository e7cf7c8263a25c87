"""The vision transformer's features against values of the official code of Neural Congealing (arXiv 2302.03956)."""

import pytest
import torch
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor
from torch.testing import assert_close

from api_schemas.backbones import Facet
from workers.backbones.vit.framing import normalised, spread
from workers.backbones.vit.log_bins import log_bins
from workers.backbones.vit.network import View, VitNetwork
from workers.backbones.vit.saliency import SALIENT_HEADS, attention_saliency


def filler(count: int, seed: int) -> Tensor:
    k = torch.arange(count, dtype=torch.int64)
    return (2 * ((31 * k * k + 7919 * k + 1013 * seed) % 10007).double() / 10007 - 1).float()


def filled_network(*, depth: int, factor: float) -> VitNetwork:
    model = VisionTransformer(
        img_size=32, patch_size=8, embed_dim=12, depth=depth, num_heads=6, mlp_ratio=2, num_classes=0
    ).eval()
    with torch.no_grad():
        for j, (name, parameter) in enumerate(sorted(model.named_parameters()), start=1):
            parameter.copy_(factor * filler(parameter.numel(), j).view_as(parameter))
            if "norm" in name and name.endswith("weight"):
                parameter.add_(1)
    return VitNetwork(model, digest="")


@pytest.fixture(scope="module")
def shallow() -> VitNetwork:
    return filled_network(depth=2, factor=0.2)


@pytest.fixture(scope="module")
def deep() -> VitNetwork:
    return filled_network(depth=12, factor=0.5)


def described(network: VitNetwork, layer: int, facet: Facet, stride: int) -> Tensor:
    y, x = torch.meshgrid(torch.arange(24.0), torch.arange(24.0), indexing="ij")
    picture = torch.stack([torch.sin(0.2 * x + 0.1 * y + c) for c in range(3)])[None]
    return network.describe(picture, [View(layer, facet)], stride=stride)[0]


def numbers(text: str) -> Tensor:
    return torch.tensor([float(number) for number in text.split()])


@torch.no_grad()
def test_position_embedding_is_resampled_by_the_official_rule(shallow: VitNetwork) -> None:
    position = shallow.position(5, 5)[0, :, :4]
    expected = {
        0: "-.18525 .132527 .052783 -.024483",
        1: ".203159 .141103 .108934 .051835",
        13: "-.093838 -.128632 .001338 -.03203",
        25: "-.13662 -.148411 -.149065 -.147414",
    }
    for token, values in expected.items():
        assert_close(position[token], numbers(values), atol=2e-5, rtol=0)


def test_overlapping_keys_match(shallow: VitNetwork) -> None:
    keys = described(shallow, 1, "key", 4)[0].flatten(1)
    first = "0.655205 0.119261 0.113052 -.284338 .027854 -.339095 .074604 -.316514 .14465 .552622 .447714 -.886721"
    middle = "-1.2135 -.649095 .137597 .522133 .243536 -.142989 -.083817 -.053188 -.492802 -.409938 .103212 -.151725"
    assert_close(keys[:, 0], numbers(first), atol=2e-5, rtol=0)
    assert_close(keys[:, 12], numbers(middle), atol=2e-5, rtol=0)


def test_log_bins_match(shallow: VitNetwork) -> None:
    binned = log_bins(described(shallow, 1, "key", 4))
    assert binned.shape == (1, 204, 5, 5)
    assert float(binned.double().sum()) == pytest.approx(-412.823, rel=1e-5)
    assert float(binned.double().abs().sum()) == pytest.approx(1895.829, rel=1e-5)


def test_saliency_of_the_class_token_matches(deep: VitNetwork) -> None:
    saliency = attention_saliency(described(deep, 11, "attention", 8), SALIENT_HEADS["dino_vits8"])
    expected = numbers("0 .484957 .483886 .097601 .436866 .557477 .451409 .505581 1").view(1, 1, 3, 3)
    assert_close(saliency, expected, atol=1e-4, rtol=0)


def test_deep_keys_match(deep: VitNetwork) -> None:
    keys = described(deep, 11, "key", 8)[0].flatten(1)
    expected = "1.647452 .850110 -.122374 .647874 -.378945 -.013162 .343470 .436220 .424139 .376520 .714333 -.506109"
    assert_close(keys[:, 4], numbers(expected), atol=1e-4, rtol=0)


def test_input_normalisation_matches() -> None:
    pixels = torch.tensor([0.0, 0.5, 1.0]).view(1, 3, 1, 1)
    assert normalised(pixels).flatten().tolist() == pytest.approx([-2.117904, 0.196429, 2.64], abs=1e-5)


def test_resampling_of_a_grid_matches() -> None:
    ramp = torch.arange(5.0).expand(1, 1, 5, 5)
    expected = numbers("0 .4375 1.0625 1.6875 2.3125 2.9375 3.5625 4").expand(1, 1, 8, 8)
    assert_close(spread(ramp, (8, 8), patch=8, stride=8), expected, atol=2e-5, rtol=0)
