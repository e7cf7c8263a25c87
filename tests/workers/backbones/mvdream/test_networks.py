from pathlib import Path

import pytest
import torch
from diffusers.models.attention_processor import AttnProcessor2_0
from torch import Tensor
from torch.testing import assert_close

from tests.workers.backbones.mvdream.tiny import TEXT_WIDTH, load_tiny, tiny_vae
from workers.backbones.base import Compute
from workers.backbones.diffusion.schedule import alpha_bar
from workers.backbones.mvdream.cross_view import CrossViewError, install_cross_view
from workers.backbones.mvdream.networks import MvdreamNetworks

VIEWS = 4


def draw(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def test_latents_are_scaled_draws_of_the_autoencoders_posterior(mvdream: MvdreamNetworks) -> None:
    rgb = torch.rand(2, 3, 64, 64, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        posterior = tiny_vae().encode(2 * rgb - 1).latent_dist
        latents = mvdream.encode(rgb, torch.Generator().manual_seed(2))
    expected = 0.18215 * (posterior.mean + posterior.std * draw(2, 4, 8, 8, seed=2))
    assert_close(latents, expected, rtol=0, atol=1e-5)
    with torch.no_grad():
        assert torch.equal(mvdream.encode(rgb, torch.Generator().manual_seed(2)), latents)


def test_the_gradient_of_latents_goes_to_the_pictures(mvdream: MvdreamNetworks) -> None:
    rgb = torch.rand(2, 3, 64, 64, generator=torch.Generator().manual_seed(1)).requires_grad_()
    mvdream.encode(rgb, torch.Generator().manual_seed(2)).square().sum().backward()
    assert rgb.grad is not None
    assert bool((rgb.grad.flatten(1).abs().sum(dim=1) > 0).all())
    assert not any(parameter.grad is not None for parameter in mvdream.vae.parameters())


def test_decoded_latents_are_pictures(mvdream: MvdreamNetworks) -> None:
    pictures = mvdream.decode(0.18215 * draw(2, 4, 4, 4))
    raw = tiny_vae().decode(draw(2, 4, 4, 4)).sample.detach()
    assert pictures.shape == (2, 3, 32, 32)
    assert_close(pictures, (raw / 2 + 0.5).clamp(0, 1), rtol=0, atol=1e-5)


def test_text_serves_all_latents_where_there_is_one(mvdream: MvdreamNetworks) -> None:
    latents, conditions, text = draw(VIEWS, 4, 8, 8), draw(VIEWS, 16), mvdream.text(["a cat"])
    with torch.no_grad():
        shared = mvdream.noise(latents, 500, text, conditions, VIEWS)
        own = mvdream.noise(latents, torch.full((VIEWS,), 500), text.repeat(VIEWS, 1, 1), conditions, VIEWS)
    assert shared.shape == latents.shape
    assert_close(shared, own, rtol=0, atol=1e-5)


def test_views_and_cameras_matter_and_plain_pictures_have_neither(mvdream: MvdreamNetworks) -> None:
    latents, conditions, text = draw(VIEWS, 4, 8, 8), draw(VIEWS, 16), mvdream.text(["a cat"])
    with torch.no_grad():
        together = mvdream.noise(latents, 500, text, conditions, VIEWS)
        alone = mvdream.noise(latents, 500, text, conditions)
        plain = mvdream.noise(latents, 500, text)
        first = mvdream.noise(latents[:1], 500, text)
        again = mvdream.noise(latents, 500, text, conditions, VIEWS)
    assert (together - alone).abs().max() > 0.1
    assert (alone - plain).abs().max() > 0.1
    assert_close(plain[:1], first, rtol=0, atol=1e-5)
    assert torch.equal(together, again)


def test_the_gradient_of_noise_goes_to_the_text(mvdream: MvdreamNetworks) -> None:
    token = mvdream.word("cat")[None].requires_grad_()
    mvdream.noise(draw(1, 4, 8, 8), 500, mvdream.text_with(token, "a {}")).square().sum().backward()
    assert token.grad is not None
    assert token.grad.abs().sum() > 0
    assert not any(parameter.grad is not None for parameter in mvdream.unet.parameters())


def test_latents_that_are_no_whole_groups_are_refused(mvdream: MvdreamNetworks) -> None:
    with pytest.raises(ValueError, match="6 latents are no whole groups of 4 views"):
        mvdream.noise(draw(6, 4, 8, 8), 500, mvdream.text(["a"]), draw(6, 16), VIEWS)


def test_lost_processors_stop_the_run(mvdream: MvdreamNetworks) -> None:
    mvdream.unet.set_attn_processor(AttnProcessor2_0())
    try:
        with pytest.raises(CrossViewError, match="16 of 16"):
            mvdream.noise(draw(VIEWS, 4, 8, 8), 500, mvdream.text(["a"]), draw(VIEWS, 16), VIEWS)
    finally:
        install_cross_view(mvdream.unet)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_is_near(mvdream: MvdreamNetworks, mvdream_dir: Path, dtype: torch.dtype) -> None:
    half = load_tiny(mvdream_dir, compute=Compute(dtype=dtype))
    assert {parameter.dtype for parameter in half.unet.parameters()} == {dtype}
    assert {parameter.dtype for parameter in half.vae.parameters()} == {torch.float32}
    latents, conditions, text = draw(VIEWS, 4, 8, 8), draw(VIEWS, 16), mvdream.text(["a cat"])
    with torch.no_grad():
        found = half.noise(latents, 500, half.text(["a cat"]), conditions, VIEWS)
        expected = mvdream.noise(latents, 500, text, conditions, VIEWS)
    assert found.dtype == torch.float32
    assert (found - expected).norm() < 0.05 * expected.norm()
    assert not torch.equal(found, expected)


def test_the_schedule_and_the_width_are_told(mvdream: MvdreamNetworks) -> None:
    assert mvdream.alphas_cumprod.shape == (1000,)
    assert float(mvdream.alphas_cumprod[500]) == pytest.approx(alpha_bar(500), rel=1e-6)
    assert mvdream.context_width == TEXT_WIDTH
