import pytest
import torch
from torch import Tensor

from workers.geometry.flows import smoothness_operator
from workers.methods.neural_congealing.losses import (
    closed_form_atlas,
    data_loss,
    feature_distance,
    feature_distance_plainly,
    flow_penalty,
    huber,
    leave_one_out_agreement,
    noise_to_signal,
    robust,
)


def random(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def unit(*shape: int, dim: int, seed: int = 0) -> Tensor:
    return torch.nn.functional.normalize(random(*shape, seed=seed), dim=dim)


@pytest.mark.parametrize("length", [1.0, 0.3, 1e-6])
def test_written_out_gradient_is_the_automatic_one(length: float) -> None:
    atlas = unit(6, 20, dim=0).double()
    results = []
    for distance in (feature_distance, feature_distance_plainly):
        sampled = (length * random(4, 6, 20, seed=1)).double().requires_grad_()
        value = distance(atlas, sampled)
        (gradient,) = torch.autograd.grad((value * torch.arange(20.0)).sum(), sampled)
        results.append((value.detach(), gradient))
    torch.testing.assert_close(results[0][0], results[1][0])
    if length > 1e-4:
        torch.testing.assert_close(results[0][1], results[1][1])
    assert torch.isfinite(results[0][1]).all()


def test_written_out_gradient_survives_a_numeric_check() -> None:
    atlas = unit(3, 5, dim=0).double()
    sampled = random(2, 3, 5, seed=4).double().requires_grad_()
    assert torch.autograd.gradcheck(lambda x: feature_distance(atlas, x), sampled)


def test_robust_starts_like_the_distance_and_saturates() -> None:
    small, large = torch.tensor([1e-4]), torch.tensor([1e6])
    torch.testing.assert_close(robust(small, 0.5), small, rtol=1e-3, atol=0)
    torch.testing.assert_close(robust(large, 0.5), torch.tensor([0.5]), rtol=1e-3, atol=0)


def test_huber_is_continuous_with_its_slope() -> None:
    around = torch.tensor([0.7 - 1e-4, 0.7 + 1e-4], dtype=torch.float64, requires_grad=True)
    (slope,) = torch.autograd.grad(huber(around).sum(), around)
    assert float(huber(around).detach().diff().abs()) < 2e-4
    torch.testing.assert_close(slope[0], slope[1], atol=2e-4, rtol=0)


def test_atlas_of_equal_images_is_the_image_and_loses_nothing() -> None:
    image = unit(5, 12, dim=0)
    sampled = image.expand(3, -1, -1)
    atlas = closed_form_atlas(sampled, torch.rand(3, 12, generator=torch.Generator().manual_seed(0)) + 0.1)
    torch.testing.assert_close(atlas, image)
    loss = data_loss(atlas, torch.ones(12), sampled, torch.ones(3, 12), torch.ones(3, 12), scale=0.5, mask_weight=2.0)
    torch.testing.assert_close(loss, torch.zeros(3), atol=1e-6, rtol=0)


def test_cells_outside_the_picture_neither_cost_nor_pull() -> None:
    sampled = random(2, 4, 10).requires_grad_()
    valid = torch.ones(2, 10)
    valid[1] = 0
    loss = data_loss(unit(4, 10, dim=0, seed=1), torch.ones(10), sampled, None, valid, scale=0.5, mask_weight=1.0)
    (gradient,) = torch.autograd.grad(loss.sum(), sampled)
    assert float(loss[1]) == 0
    assert (gradient[1] == 0).all()
    assert gradient[0].abs().sum() > 0


def test_leave_one_out_does_not_see_the_image_itself() -> None:
    sampled = unit(3, 6, 8, dim=1)
    weights = torch.ones(3, 8)
    others = torch.nn.functional.normalize(sampled[1:].sum(dim=0), dim=0)
    expected = (others * sampled[0]).sum(dim=0)
    torch.testing.assert_close(leave_one_out_agreement(sampled, weights)[0], expected)


def test_flow_penalty_is_zero_for_none_and_small_for_shifts() -> None:
    operator = smoothness_operator(8)
    still, shifted, bent = torch.zeros(1, 2, 8, 8), torch.full((1, 2, 8, 8), 0.2), 0.2 * random(1, 2, 8, 8)
    none, shift, bend = (
        float(flow_penalty(controls, operator, smoothness=1.0, magnitude=0.1)) for controls in (still, shifted, bent)
    )
    assert none == 0
    assert shift == pytest.approx(0.1 * 2 * 0.2**2, rel=1e-3)
    assert bend > 10 * shift


def test_noise_is_told_from_the_agreement_of_noisy_copies() -> None:
    generator = torch.Generator().manual_seed(0)
    signal = unit(1, 4096, 1, dim=1)
    for ratio in (0.1, 1.0, 4.0):
        noise = torch.randn(8, 4096, 1, generator=generator) / 64 * ratio**0.5
        copies = torch.nn.functional.normalize(signal + noise, dim=1)
        cosine = leave_one_out_agreement(copies, torch.ones(8, 1)).mean()
        assert float(noise_to_signal(cosine, 8)) == pytest.approx(ratio, rel=0.15)
    assert float(noise_to_signal(torch.tensor(1.0), 2)) == 0
