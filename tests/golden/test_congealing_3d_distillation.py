"""Score distillation of 3D Congealing against values of MVDream's own code (arXiv 2308.16512)."""

import math

import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

from workers.methods.congealing_3d.generate.guidance import (
    Guidance,
    Prompts,
    distillation_loss,
    guided,
    noised,
    reconstruction_loss,
    rescale_factors,
    target,
)
from workers.methods.congealing_3d.generate.hash_field import HashField
from workers.methods.congealing_3d.generate.schedule import OFFICIAL_STEPS, time_window

TIME = 500


def numbers(formula: str) -> Tensor:
    """Values (8, 4, 2, 2) of a formula in row i and column j of an (8, 16) array."""
    i, j = torch.meshgrid(torch.arange(8.0).double(), torch.arange(16.0).double(), indexing="ij")
    tables = {
        "latents": ((7 * i + 3 * j) % 11 - 5) / 5,
        "noise": ((5 * i + 2 * j) % 13 - 6) / 6,
        "wanted": ((3 * i + 5 * j) % 7 - 3) / 3,
        "unwanted": ((i + 4 * j) % 9 - 4) / 4,
    }
    return tables[formula].view(8, 4, 2, 2)


def alphas() -> Tensor:
    betas = torch.linspace(math.sqrt(0.00085), math.sqrt(0.012), 1000, dtype=torch.float64) ** 2
    return (1 - betas).cumprod(0)


def left() -> Tensor:
    return alphas()[TIME]


def noisy() -> Tensor:
    return noised(numbers("latents"), numbers("noise"), left())


class Answers:
    """A network that answers with the tables, whatever it is asked."""

    alphas_cumprod = alphas()

    def encode(self, rgb: Tensor, generator: torch.Generator) -> Tensor:
        raise NotImplementedError

    def text(self, prompts: list[str]) -> Tensor:
        raise NotImplementedError

    def text_with(self, token: Tensor, template: str) -> Tensor:
        raise NotImplementedError

    def word(self, text: str) -> Tensor:
        raise NotImplementedError

    def noise(self, z_t: Tensor, t: Tensor, text: Tensor, conditions: Tensor | None, views: int) -> Tensor:
        assert z_t.shape == (16, 4, 2, 2)
        assert t.tolist() == [TIME] * 16
        assert views == 4
        assert conditions is not None
        assert_close(conditions[:8], conditions[8:])
        wanted = text[:, 0, 0].view(-1, 1, 1, 1) == 1
        return torch.where(wanted, numbers("wanted").repeat(2, 1, 1, 1), numbers("unwanted").repeat(2, 1, 1, 1))


def loss(latents: Tensor, guidance: Guidance) -> Tensor:
    prompts = Prompts(torch.ones(1, 1, 1), torch.zeros(1, 1, 1))
    conditions = torch.arange(8.0)[:, None].expand(8, 16)
    return distillation_loss(Answers(), latents, numbers("noise"), TIME, prompts, conditions, guidance)


@pytest.mark.parametrize(
    ("step", "window"),
    [(0, (980, 980)), (2000, (740, 860)), (4000, (500, 740)), (6000, (260, 620)), (8000, (20, 500)), (9999, (20, 500))],
)
def test_noise_levels_fall_as_published(step: int, window: tuple[int, int]) -> None:
    assert time_window(step, OFFICIAL_STEPS) == window
    assert time_window(step // 4, OFFICIAL_STEPS // 4) == time_window(4 * (step // 4), OFFICIAL_STEPS)


def test_the_share_of_signal_is_the_published_one() -> None:
    expected = {0: 0.99915, 20: 0.98131436, 500: 0.27633268, 637: 0.12755983, 980: 0.00584378, 999: 0.00466010}
    for time, share in expected.items():
        assert float(alphas()[time]) == pytest.approx(share, abs=1e-8)


def test_loss_and_gradient_are_the_published_ones() -> None:
    latents = numbers("latents").requires_grad_()
    found = loss(latents, Guidance())
    (gradient,) = torch.autograd.grad(found, latents)
    assert float(found.detach()) == pytest.approx(11392.310099, abs=1e-5)
    assert float(gradient.norm()) == pytest.approx(53.3673825911, abs=1e-8)


def test_the_rescaled_reconstruction_is_the_published_one() -> None:
    found = target(noisy(), numbers("wanted"), numbers("unwanted"), left(), Guidance())
    expected = [[-0.5105589504, -28.2959326999], [40.3118130792, 17.8280609037]]
    assert_close(found[0, 0], torch.tensor(expected, dtype=torch.float64), atol=1e-8, rtol=0)


def test_rescale_factors_are_the_published_ones() -> None:
    def clean(noise: Tensor) -> Tensor:
        return (noisy() - (1 - left()).sqrt() * noise) / left().sqrt()

    found = rescale_factors(clean(guided(numbers("wanted"), numbers("unwanted"), 50.0)), clean(numbers("wanted")))
    assert_close(found, torch.tensor([0.0211179007, 0.0221148580], dtype=torch.float64), atol=1e-9, rtol=0)


def test_without_rescaling_the_loss_is_the_published_one() -> None:
    assert float(loss(numbers("latents"), Guidance(rescale=0.0))) == pytest.approx(43645.255524, abs=1e-5)


def test_without_rescaling_it_is_score_distillation_with_weight_sigma_over_alpha() -> None:
    aim = target(noisy(), numbers("wanted"), numbers("unwanted"), left(), Guidance(rescale=0.0))
    guided_noise = guided(numbers("wanted"), numbers("unwanted"), 50.0)
    weight = ((1 - left()) / left()).sqrt()
    assert_close(numbers("latents") - aim, weight * (guided_noise - numbers("noise")), atol=1e-12, rtol=0)
    latents = numbers("latents").requires_grad_()
    (gradient,) = torch.autograd.grad(reconstruction_loss(latents, aim), latents)
    assert_close(gradient, (latents.detach() - aim) / 8, atol=1e-12, rtol=0)


def test_plain_score_distillation_has_the_published_gradient() -> None:
    latents = numbers("latents").requires_grad_()
    (gradient,) = torch.autograd.grad(loss(latents, Guidance("score")), latents)
    difference = guided(numbers("wanted"), numbers("unwanted"), 50.0) - numbers("noise")
    assert_close(gradient, (1 - left()) * difference / 8, atol=1e-12, rtol=0)


def test_the_hash_field_has_the_published_resolutions_and_parameters() -> None:
    with torch.device("meta"):
        field = HashField()
    assert field.grid.resolutions == [
        16, 24, 34, 49, 71, 102, 148, 213, 308, 446, 646, 934, 1352, 1956, 2831, 4096
    ]  # fmt: skip
    assert field.grid.entries[:5] == [4096, 13824, 39304, 117656, 357912]
    assert set(field.grid.entries[5:]) == {1 << 19}
    assert field.grid.features.numel() == 12_599_920
    assert sum(each.numel() for each in field.parameters()) == 12_604_720
