from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor
from torch.nn.functional import cosine_similarity
from torch.testing import assert_close

from api_schemas.backbones import FeatureOptions
from tests.workers.backbones.diffusion.checks import assert_same, passes
from tests.workers.backbones.diffusion.tiny import load_tiny, picture, tiny_unet, tiny_vae
from workers.backbones.diffusion.dift import SEED, DiftBackbone
from workers.backbones.diffusion.schedule import gaussian, noised
from workers.backbones.diffusion.stable_diffusion import StableDiffusion


def dift(diffusion: StableDiffusion, **options: object) -> DiftBackbone:
    return DiftBackbone(diffusion, FeatureOptions(**{"ensemble": 2, **options}))


@pytest.mark.parametrize(("layer", "stride", "dim"), [(0, 32, 64), (1, 16, 64), (2, 8, 64), (3, 8, 32)])
@pytest.mark.parametrize("size", [(64, 128), (100, 75), (33, 200)])
def test_every_layer_covers_any_size(
    diffusion: StableDiffusion, layer: int, stride: int, dim: int, size: tuple[int, int]
) -> None:
    backbone = dift(diffusion, layer=layer, ensemble=1)
    features = backbone.extract(picture(*size))
    assert (backbone.stride, backbone.dim) == (stride, dim)
    assert features.shape == (1, dim, round(size[0] / stride), round(size[1] / stride))
    assert features.dtype == torch.float32
    assert torch.isfinite(features).all()


@torch.no_grad()
def reference(image: Tensor, context: Tensor, *, members: int, timestep: int) -> Tensor:
    """One whole pass of diffusers' networks a member; features of block 1 by a hook."""
    unet, posterior = tiny_unet().double(), tiny_vae().double().encode((2 * image - 1).double()).latent_dist
    found: list[Tensor] = []
    unet.up_blocks[1].register_forward_hook(lambda _m, _i, output: found.append(output))
    draws = gaussian(members, 2, *posterior.mean.shape[1:], seed=SEED)
    for for_posterior, noise in draws:
        latent = 0.18215 * (posterior.mean + posterior.std * for_posterior)
        unet(noised(latent, noise, timestep), timestep, context.double())
    return torch.stack(found).mean(dim=0)


def test_features_are_the_mean_over_whole_passes(exact: StableDiffusion) -> None:
    image, context = picture(64, 128), exact.prompts.embed("a cat")
    features = dift(exact, ensemble=3, prompt="a cat").extract(image)
    assert_same(features, reference(image, context, members=3, timestep=261))


def test_each_image_is_described_by_itself(exact: StableDiffusion) -> None:
    images = torch.cat([picture(64, 64), picture(64, 64, 0.4), picture(64, 64, 0.7)])
    backbone = dift(exact)
    assert_same(backbone.extract(images)[1:2], backbone.extract(images[1:2]))


def test_batches_are_bounded_and_do_not_matter(exact: StableDiffusion) -> None:
    images = torch.cat([picture(64, 64), picture(64, 64, 0.4)])
    narrow = replace(exact, compute=replace(exact.compute, batch_pixels=3 * 64 * 64))
    with passes(narrow.unet.conv_in) as sizes:
        features = dift(narrow, ensemble=5).extract(images)
    assert sizes == [3, 3, 3, 1]
    assert_same(features, dift(exact, ensemble=5).extract(images))


def test_image_is_encoded_once_and_nothing_runs_after_the_layer(diffusion: StableDiffusion) -> None:
    with passes(diffusion.vae.encoder.conv_in) as encoded, passes(diffusion.unet.up_blocks[2]) as after:
        dift(diffusion, ensemble=8).extract(picture(64, 64))
    assert encoded == [1]
    assert after == []


def test_same_images_give_the_same_features(diffusion: StableDiffusion) -> None:
    torch.manual_seed(1)
    first = dift(diffusion).extract(picture(64, 64))
    torch.manual_seed(2)
    assert_close(dift(diffusion).extract(picture(64, 64)), first, rtol=0, atol=0)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_tells_the_same(weights_dir: Path, diffusion: StableDiffusion, dtype: torch.dtype) -> None:
    half = dift(load_tiny(weights_dir, dtype=dtype)).extract(picture(64, 128))
    assert half.dtype == torch.float32
    assert cosine_similarity(half, dift(diffusion).extract(picture(64, 128))).min() > 0.99


def test_features_carry_no_gradient(diffusion: StableDiffusion) -> None:
    image = picture(64, 64).requires_grad_()
    assert not dift(diffusion).extract(image).requires_grad
    assert all(parameter.grad is None for parameter in diffusion.unet.parameters())


class StoppedError(Exception):
    """Raised by a tick."""


def test_tick_can_stop_the_work(diffusion: StableDiffusion) -> None:
    left = iter(range(20))

    def tick() -> None:
        if next(left, None) is None:
            raise StoppedError

    backbone = dift(diffusion)
    unet = diffusion.unet
    with passes(unet.conv_in) as begun, passes(unet.up_blocks[1]) as ended, pytest.raises(StoppedError):
        backbone.extract(picture(64, 64), tick=tick)
    assert begun == [2]
    assert ended == []


def test_options_are_completed_and_told_in_the_identity(diffusion: StableDiffusion, weights_dir: Path) -> None:
    backbone = DiftBackbone(diffusion, FeatureOptions(prompt="a cat"))
    assert backbone.options == FeatureOptions(layer=1, prompt="a cat", timestep=261, ensemble=8)
    for fact in ("sd15_dift", "layer=1", "'a cat'", "timestep=261", "ensemble=8", diffusion.digest, "float32"):
        assert fact in backbone.identity
    others = [dift(diffusion), dift(diffusion, timestep=1), dift(load_tiny(weights_dir, dtype=torch.float16))]
    assert len({backbone.identity, *(other.identity for other in others)}) == 4


def test_options_that_do_not_fit_are_refused(diffusion: StableDiffusion) -> None:
    with pytest.raises(ValueError, match="no layer 4; it has 0 to 3"):
        dift(diffusion, layer=4)
    with pytest.raises(ValueError, match="no facet"):
        dift(diffusion, facet="key")


@pytest.mark.parametrize("shape", [(1, 3, 31, 64), (1, 1, 64, 64), (1, 3, 32, 513)])
def test_refuses_what_it_cannot_describe(diffusion: StableDiffusion, shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="images"):
        dift(diffusion).extract(torch.zeros(shape))
