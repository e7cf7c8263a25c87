"""The vision transformer's features against values of the official code of Neural Congealing (arXiv 2302.03956)."""

import pytest
import torch
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor
from torch.testing import assert_close

from workers.backbones.timm_vit import TimmVit, normalised


def filler(count: int, seed: int) -> Tensor:
    k = torch.arange(count, dtype=torch.int64)
    return (2 * ((31 * k * k + 7919 * k + 1013 * seed) % 10007).double() / 10007 - 1).float()


def filled_backbone(*, depth: int, factor: float, stride: int) -> TimmVit:
    model = VisionTransformer(
        img_size=32, patch_size=8, embed_dim=12, depth=depth, num_heads=6, mlp_ratio=2, num_classes=0
    ).eval()
    with torch.no_grad():
        for j, (name, parameter) in enumerate(sorted(model.named_parameters()), start=1):
            parameter.copy_(factor * filler(parameter.numel(), j).view_as(parameter))
            if "norm" in name and name.endswith("weight"):
                parameter.add_(1)
    return TimmVit(model, name="filled", stride=stride, facet="key")


def picture() -> Tensor:
    y, x = torch.meshgrid(torch.arange(24.0), torch.arange(24.0), indexing="ij")
    return torch.stack([torch.sin(0.2 * x + 0.1 * y + c) for c in range(3)])[None]


@torch.no_grad()
def test_position_embedding_is_resampled_by_the_official_rule() -> None:
    prefix, grid = filled_backbone(depth=2, factor=0.2, stride=4).position(5, 5)
    expected = {
        0: [0.203159, 0.141103, 0.108934, 0.051835],
        12: [-0.093838, -0.128632, 0.001338, -0.03203],
        24: [-0.13662, -0.148411, -0.149065, -0.147414],
    }
    assert_close(prefix[0, 0, :4], torch.tensor([-0.18525, 0.132527, 0.052783, -0.024483]), atol=2e-5, rtol=0)
    for token, values in expected.items():
        assert_close(grid[0, token, :4], torch.tensor(values), atol=2e-5, rtol=0)


@torch.no_grad()
def test_overlapping_keys_match() -> None:
    keys = filled_backbone(depth=2, factor=0.2, stride=4).tokens(picture()).flatten(2)[0]
    first = "0.655205 0.119261 0.113052 -.284338 .027854 -.339095 .074604 -.316514 .14465 .552622 .447714 -.886721"
    middle = "-1.2135 -.649095 .137597 .522133 .243536 -.142989 -.083817 -.053188 -.492802 -.409938 .103212 -.151725"
    assert_close(keys[:, 0], torch.tensor([float(v) for v in first.split()]), atol=2e-5, rtol=0)
    assert_close(keys[:, 12], torch.tensor([float(v) for v in middle.split()]), atol=2e-5, rtol=0)


@torch.no_grad()
def test_deep_keys_match() -> None:
    keys = filled_backbone(depth=12, factor=0.5, stride=8).tokens(picture()).flatten(2)[0]
    expected = "1.647452 .850110 -.122374 .647874 -.378945 -.013162 .343470 .436220 .424139 .376520 .714333 -.506109"
    assert_close(keys[:, 4], torch.tensor([float(v) for v in expected.split()]), atol=1e-4, rtol=0)


def test_input_normalisation_matches() -> None:
    pixels = torch.tensor([0.0, 0.5, 1.0]).view(1, 3, 1, 1)
    assert normalised(pixels).flatten().tolist() == pytest.approx([-2.117904, 0.196429, 2.64], abs=1e-5)
