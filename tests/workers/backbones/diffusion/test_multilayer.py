from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor
from torch.nn.functional import cosine_similarity, interpolate
from torch.testing import assert_close

from api_schemas.backbones import FeatureOptions
from tests.workers.backbones.diffusion.checks import assert_same, passes
from tests.workers.backbones.diffusion.tiny import load_tiny, picture, tiny_unet, tiny_vae
from workers.backbones.diffusion.multilayer import SEED, SdBackbone
from workers.backbones.diffusion.schedule import gaussian, noised
from workers.backbones.diffusion.stable_diffusion import StableDiffusion

TAPS = {"s5": "up_blocks.0.resnets.1", "s4": "up_blocks.1.attentions.1", "s3": "up_blocks.2.attentions.1"}


@pytest.fixture(scope="module")
def backbone(diffusion: StableDiffusion) -> SdBackbone:
    return SdBackbone(diffusion, FeatureOptions())


@pytest.fixture(scope="module")
def exact_backbone(exact: StableDiffusion) -> SdBackbone:
    return SdBackbone(exact, FeatureOptions())


@torch.no_grad()
def reference(image: Tensor, context: Tensor) -> dict[str, Tensor]:
    """A whole pass of diffusers' networks, read by hooks."""
    unet, found = tiny_unet().double(), {}

    def keep(name: str, output: Tensor | tuple[Tensor, ...]) -> None:
        found[name] = output[0] if isinstance(output, tuple) else output

    for name, module in TAPS.items():
        unet.get_submodule(module).register_forward_hook(lambda _m, _i, output, name=name: keep(name, output))
    latent = 0.18215 * tiny_vae().double().encode((2 * image - 1).double()).latent_dist.mean
    noise = gaussian(1, 4, 64, 64, seed=SEED)[..., : latent.shape[2], : latent.shape[3]]
    unet(noised(latent, noise, 50), 50, context.double())
    return found


def test_blocks_are_what_the_whole_network_computes_there(exact: StableDiffusion) -> None:
    image = picture(128, 192)
    blocks = SdBackbone(exact, FeatureOptions(prompt="a cat", freeu=False)).blocks(image)
    assert [tuple(block.shape) for block in blocks] == [(1, 64, 8, 12), (1, 64, 4, 6), (1, 64, 2, 3)]
    for name, expected in reference(image, exact.prompts.embed("a cat")).items():
        assert_same(getattr(blocks, name), expected)


def test_freeu_shows_in_the_features(diffusion: StableDiffusion, backbone: SdBackbone) -> None:
    """The coarsest level is read before any skip was damped, but behind two amplifications."""
    image = picture(64, 64)
    plain = SdBackbone(diffusion, FeatureOptions(freeu=False))
    for block, without in zip(backbone.blocks(image), plain.blocks(image), strict=True):
        assert not torch.allclose(block, without, atol=0.01)
    assert backbone.identity != plain.identity


def test_features_are_the_levels_on_one_grid(backbone: SdBackbone) -> None:
    image = picture(128, 192)
    s3, s4, s5 = backbone.blocks(image)
    features = backbone.extract(image)
    assert features.shape == (1, backbone.dim, 8, 12) == (1, 192, 8, 12)
    assert_close(features[:, :64], s3)
    for block, channels in ((s4, slice(64, 128)), (s5, slice(128, 192))):
        assert_close(features[:, channels], interpolate(block, (8, 12), mode="bilinear", align_corners=False))


@pytest.mark.parametrize("size", [(33, 100), (200, 90), (32, 512)])
def test_cells_cover_any_size(backbone: SdBackbone, size: tuple[int, int]) -> None:
    features = backbone.extract(picture(*size))
    assert features.shape == (1, backbone.dim, round(size[0] / 16), round(size[1] / 16))
    assert features.dtype == torch.float32
    assert torch.isfinite(features).all()


def test_large_images_are_read_in_tiles_whose_overlap_is_averaged(exact_backbone: SdBackbone) -> None:
    images = torch.cat([picture(64, 960), picture(64, 960, 0.3)])
    whole = exact_backbone.blocks(images)
    left, right = exact_backbone.blocks(images[..., :512]), exact_backbone.blocks(images[..., 448:])
    for stride, block, first, second in zip((16, 32, 64), whole, left, right, strict=True):
        start, end = 448 // stride, 512 // stride
        assert block.shape[-1] == 960 // stride
        assert_same(block[..., :start], first[..., :start])
        assert_same(block[..., end:], second[..., end - start :])
        overlap = (first[..., start:] + second[..., : end - start]) / 2
        assert_same(block[..., start:end], overlap)


def test_tiles_are_batched_within_the_bound(exact: StableDiffusion, exact_backbone: SdBackbone) -> None:
    images = torch.cat([picture(64, 960), picture(64, 960, 0.3)])
    narrow = replace(exact, compute=replace(exact.compute, batch_pixels=3 * 64 * 512))
    with passes(narrow.unet.conv_in) as read, passes(narrow.vae.encoder.conv_in) as encoded:
        features = SdBackbone(narrow, FeatureOptions()).extract(images)
    assert read == encoded == [3, 1]
    assert_same(features, exact_backbone.extract(images))


def test_each_image_is_described_by_itself(exact_backbone: SdBackbone) -> None:
    images = torch.cat([picture(64, 64), picture(64, 64, 0.4)])
    assert_same(exact_backbone.extract(images)[1:], exact_backbone.extract(images[1:]))


def test_nothing_runs_after_the_finest_level(diffusion: StableDiffusion, backbone: SdBackbone) -> None:
    with passes(diffusion.unet.up_blocks[2].resnets[2]) as after:
        backbone.extract(picture(64, 64))
    assert after == []


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_tells_the_same(weights_dir: Path, backbone: SdBackbone, dtype: torch.dtype) -> None:
    half = SdBackbone(load_tiny(weights_dir, dtype=dtype), FeatureOptions()).extract(picture(64, 128))
    assert half.dtype == torch.float32
    assert cosine_similarity(half, backbone.extract(picture(64, 128))).min() > 0.99


def test_ticks_through_both_networks(backbone: SdBackbone) -> None:
    ticks: list[None] = []
    backbone.extract(picture(64, 64), tick=lambda: ticks.append(None))
    assert len(ticks) > 20


def test_options_are_completed_and_told_in_the_identity(diffusion: StableDiffusion) -> None:
    other = SdBackbone(diffusion, FeatureOptions(prompt="a cat", timestep=100))
    assert SdBackbone(diffusion, FeatureOptions()).options == FeatureOptions(prompt="", timestep=50, freeu=True)
    for fact in ("sd15", "'a cat'", "timestep=100", "freeu=True", diffusion.digest, "float32"):
        assert fact in other.identity
    with pytest.raises(ValueError, match="no ensemble"):
        SdBackbone(diffusion, FeatureOptions(ensemble=2))
    with pytest.raises(ValueError, match="at most 75 fit"):
        SdBackbone(diffusion, FeatureOptions(prompt="a " * 76))
