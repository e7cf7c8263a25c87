import pytest
import torch
from torch import Tensor

from workers.geometry.similarity import similarity_matrix, transform
from workers.matching.ransac import fit_similarity, robust_similarity

TRUTH = similarity_matrix(torch.tensor([[0.6, 0.8, 0.2, -0.3]]))


def scene(outliers: int, *, noise: float = 0.0, seed: int = 0) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    source = torch.rand(60, 2, generator=generator) * 2 - 1
    target = transform(TRUTH, source.unsqueeze(0))[0] + noise * torch.randn(60, 2, generator=generator)
    target[:outliers] = torch.rand(outliers, 2, generator=generator) * 2 - 1
    return source, target


@pytest.mark.parametrize("outliers", [0, 20, 40])
def test_outliers_do_not_move_the_fit(outliers: int) -> None:
    source, target = scene(outliers)
    fit = robust_similarity(source, target, threshold=0.02, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(fit.matrix, TRUTH[0].double(), atol=0.01, rtol=0)
    assert fit.inliers[outliers:].all()
    assert fit.inliers[:outliers].sum() <= 2


def test_noise_averages_out() -> None:
    source, target = scene(20, noise=0.01)
    fit = robust_similarity(source, target, threshold=0.04, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(fit.matrix, TRUTH[0].double(), atol=0.01, rtol=0)


def test_same_generator_same_fit() -> None:
    source, target = scene(30, noise=0.01)
    first, second = (
        robust_similarity(source, target, threshold=0.04, generator=torch.Generator().manual_seed(5)) for _ in range(2)
    )
    assert (first.matrix == second.matrix).all()


def test_shrinking_to_a_point_gains_nothing() -> None:
    generator = torch.Generator().manual_seed(0)
    source = torch.rand(80, 2, generator=generator) * 2 - 1
    target = 0.02 * (torch.rand(80, 2, generator=generator) * 2 - 1)
    target[:12] = source[:12] * 0.9
    fit = robust_similarity(source, target, threshold=0.03, max_scale=100.0, samples=2000, generator=generator)
    assert float(fit.factor.abs()) == pytest.approx(0.9, abs=0.05)


def test_too_few_matches_support_nothing() -> None:
    for count in (0, 2):
        fit = robust_similarity(torch.rand(count, 2), torch.rand(count, 2), threshold=0.1, generator=torch.Generator())
        assert fit.support == 0
        torch.testing.assert_close(fit.matrix, torch.eye(2, 3).double())


def test_weights_pull_the_least_squares_fit() -> None:
    source = torch.tensor([0, 1, 1j, 1 + 1j], dtype=torch.complex128)
    target = 2 * source + 1
    target[3] += 5
    factor, shift = fit_similarity(source, target, torch.tensor([1.0, 1.0, 1.0, 0.0], dtype=torch.float64))
    assert complex(factor) == pytest.approx(2)
    assert complex(shift) == pytest.approx(1)
