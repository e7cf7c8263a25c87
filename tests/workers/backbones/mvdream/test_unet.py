"""The U-Net on stock diffusers against the official layout in plain torch, on random weights."""

import pytest
import torch
from diffusers import UNet2DConditionModel
from diffusers.models.attention_processor import AttnProcessor2_0
from torch import Tensor
from torch.testing import assert_close

from tests.workers.backbones.mvdream.official import OfficialUnet
from tests.workers.backbones.mvdream.tiny import official_unet_tensors, tiny_unet
from workers.backbones.mvdream.cross_view import (
    CrossViewError,
    CrossViewProcessor,
    install_cross_view,
    require_cross_view,
)
from workers.backbones.mvdream.networks import without_cameras
from workers.backbones.mvdream.topology import Layout, heads_of

VIEWS, GROUPS = 4, 2
HEAD_WIDTH = 16
WIDTHS = (32, 64, 64, 128)
LIKE_2 = Layout(WIDTHS, heads_of(WIDTHS, HEAD_WIDTH), 24, linear_projection=True)
LIKE_1 = Layout(WIDTHS, (8, 8, 8, 8), 24, linear_projection=False)
VARIANTS = {LIKE_2: HEAD_WIDTH, LIKE_1: None}
ROUNDING = 1e-5


@pytest.fixture(scope="module", params=VARIANTS, ids=["2.1", "1.5"])
def layout(request: pytest.FixtureRequest) -> Layout:
    found: Layout = request.param
    return found


@pytest.fixture
def unet(layout: Layout) -> UNet2DConditionModel:
    found = tiny_unet(layout, seed=5)
    install_cross_view(found)
    return found


@pytest.fixture(scope="module")
def official(layout: Layout) -> OfficialUnet:
    return OfficialUnet(official_unet_tensors(tiny_unet(layout, seed=5)), VARIANTS[layout])


def given() -> tuple[Tensor, Tensor, Tensor]:
    """Latents, text and cameras of two groups."""
    generator = torch.Generator().manual_seed(6)
    latents, text, camera = (
        torch.randn(GROUPS * VIEWS, *shape, generator=generator) for shape in ((4, 8, 8), (7, 24), (16,))
    )
    return latents, text, camera


@torch.no_grad()
def noise(unet: UNet2DConditionModel, views: int, text: Tensor, camera: Tensor | None) -> Tensor:
    require_cross_view(unet).views = views
    predicted: Tensor = unet(given()[0], 321, text, class_labels=camera).sample
    return predicted


@torch.no_grad()
def test_four_views_of_two_groups_match(unet: UNet2DConditionModel, official: OfficialUnet) -> None:
    latents, text, camera = given()
    expected = official(latents, 321, text, camera, VIEWS)
    assert expected.abs().max() > 1
    assert_close(noise(unet, VIEWS, text, camera), expected, rtol=0, atol=ROUNDING)


@torch.no_grad()
def test_single_views_match_and_differ_from_four(unet: UNet2DConditionModel, official: OfficialUnet) -> None:
    latents, text, camera = given()
    alone = noise(unet, 1, text, camera)
    assert_close(alone, official(latents, 321, text, camera, 1), rtol=0, atol=ROUNDING)
    assert (alone - noise(unet, VIEWS, text, camera)).abs().max() > 0.1


@torch.no_grad()
def test_without_cameras_the_embedding_is_left_out(unet: UNet2DConditionModel, official: OfficialUnet) -> None:
    latents, text, camera = given()
    with without_cameras(unet):
        plain = noise(unet, 1, text, None)
    assert_close(plain, official(latents, 321, text, None, 1), rtol=0, atol=ROUNDING)
    assert (plain - noise(unet, 1, text, torch.zeros_like(camera))).abs().max() > 0.01
    with pytest.raises(ValueError, match="class_labels"):
        noise(unet, 1, text, None)


@torch.no_grad()
def test_groups_do_not_mix(unet: UNet2DConditionModel) -> None:
    latents, text, camera = given()
    both = noise(unet, VIEWS, text, camera)
    require_cross_view(unet).views = VIEWS
    second = unet(latents[VIEWS:], 321, text[VIEWS:], class_labels=camera[VIEWS:]).sample
    assert_close(second, both[VIEWS:], rtol=0, atol=ROUNDING)


@torch.no_grad()
def test_stock_processors_lose_the_other_views_and_are_noticed(
    unet: UNet2DConditionModel, official: OfficialUnet
) -> None:
    latents, text, camera = given()
    unet.set_attn_processor(AttnProcessor2_0())
    stock = unet(latents, 321, text, class_labels=camera).sample
    assert (stock - official(latents, 321, text, camera, VIEWS)).abs().max() > 0.1
    with pytest.raises(CrossViewError, match=r"16 of 16 self-attentions.*down_blocks\.0\..*, \.\.\.\).*install_cross"):
        require_cross_view(unet)


def test_one_lost_processor_is_noticed(unet: UNet2DConditionModel) -> None:
    name = "mid_block.attentions.0.transformer_blocks.0.attn1"
    unet.get_submodule(name).set_processor(CrossViewProcessor())
    with pytest.raises(CrossViewError, match=f"1 of 16 self-attentions.*{name}"):
        require_cross_view(unet)


def test_only_self_attentions_change(unet: UNet2DConditionModel) -> None:
    kinds = {name.split(".")[-2]: type(each).__name__ for name, each in unet.attn_processors.items()}
    assert kinds == {"attn1": "CrossViewProcessor", "attn2": "AttnProcessor2_0"}
