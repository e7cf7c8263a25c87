import pytest
import torch
from torch import Tensor
from torch.nn.functional import avg_pool2d, cosine_similarity, interpolate
from torch.testing import assert_close

from api_schemas.backbones import FeatureOptions
from tests.workers.backbones.diffusion.tiny import picture
from workers.backbones.base import Backbone, Tick, check_images, no_tick
from workers.backbones.diffusion.fusion import SdDinoBackbone
from workers.backbones.diffusion.multilayer import SdBackbone
from workers.backbones.diffusion.stable_diffusion import StableDiffusion


class PatchMeans(Backbone):
    """Mean colours of patches of 14 pixels, less grey."""

    def __init__(self) -> None:
        self.name, self.options, self.identity = "patch_means", FeatureOptions(), "patch_means"
        self.stride, self.dim = 14, 3
        self.seen: list[tuple[int, int]] = []

    def extract(self, images: Tensor, *, tick: Tick = no_tick) -> Tensor:
        check_images(images)
        tick()
        self.seen.append((images.shape[-2], images.shape[-1]))
        return avg_pool2d(images, 14) - 0.5


@pytest.fixture
def patches() -> PatchMeans:
    return PatchMeans()


@pytest.fixture
def sd(diffusion: StableDiffusion) -> SdBackbone:
    return SdBackbone(diffusion, FeatureOptions(prompt="a cat"))


@pytest.fixture
def fusion(sd: SdBackbone, patches: PatchMeans) -> SdDinoBackbone:
    return SdDinoBackbone(sd, patches)


def test_stack_holds_the_raw_channels_of_both(fusion: SdDinoBackbone, sd: SdBackbone, patches: PatchMeans) -> None:
    image = picture(128, 192)
    stacked = fusion.stack(image)
    assert patches.seen == [(8 * 14, 12 * 14)]
    assert stacked.shape == (1, sd.dim + 3, 8, 12)
    assert fusion.dim == sd.dim + 3
    assert_close(stacked[:, : sd.dim], sd.extract(image))
    assert_close(stacked[:, sd.dim :], avg_pool2d(image, 16) - 0.5, atol=0.05, rtol=0)


def test_blocks_are_the_parts_on_their_own_grids(fusion: SdDinoBackbone) -> None:
    image = picture(128, 192)
    blocks = fusion.blocks(image)
    assert tuple(block.shape[1] for block in blocks) == fusion.block_channels == (64, 64, 64, 3)
    assert [tuple(block.shape[-2:]) for block in blocks] == [(8, 12), (4, 6), (2, 3), (8, 12)]
    spread = [interpolate(block, (8, 12), mode="bilinear") for block in blocks]
    assert_close(torch.cat(spread, dim=1), fusion.stack(image))


def test_similarity_is_the_mean_of_both_cosines(fusion: SdDinoBackbone, sd: SdBackbone) -> None:
    image = picture(128, 128)
    raw, unit = (features.flatten(2)[0].T for features in (fusion.stack(image), fusion.extract(image)))
    assert_close(unit.norm(dim=1), torch.ones(64))
    similarity = unit @ unit.T
    for part in (slice(0, sd.dim), slice(sd.dim, None)):
        similarity = similarity - cosine_similarity(raw[:, None, part], raw[None, :, part], dim=2) / 2
    assert similarity.abs().max() < 1e-6


@pytest.mark.parametrize("size", [(32, 32), (100, 75), (32, 512), (72, 1152)])
def test_cells_cover_any_size(fusion: SdDinoBackbone, size: tuple[int, int]) -> None:
    features = fusion.extract(picture(*size))
    assert features.shape == (1, fusion.dim, round(size[0] / 16), round(size[1] / 16))
    assert torch.isfinite(features).all()


def test_name_options_and_identity_tell_both(fusion: SdDinoBackbone, sd: SdBackbone) -> None:
    assert fusion.name == "sd15+dinov2_vitb14"
    assert fusion.stride == 16
    assert fusion.options == FeatureOptions(prompt="a cat", timestep=50, freeu=True)
    assert sd.identity in fusion.identity
    assert "patch_means" in fusion.identity


def test_ticks_in_both(fusion: SdDinoBackbone, sd: SdBackbone) -> None:
    together: list[None] = []
    alone: list[None] = []
    fusion.extract(picture(64, 64), tick=lambda: together.append(None))
    sd.extract(picture(64, 64), tick=lambda: alone.append(None))
    assert len(together) == len(alone) + 1
