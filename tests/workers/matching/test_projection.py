import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

from workers.matching import projection
from workers.matching.projection import fit_projection, principal_axes


def decaying(count: int, channels: int) -> Tensor:
    """(count, channels) whose singular values fall."""
    generator = torch.Generator().manual_seed(0)
    left, _ = torch.linalg.qr(torch.randn(count, min(count, channels), generator=generator, dtype=torch.float64))
    right, _ = torch.linalg.qr(torch.randn(channels, min(count, channels), generator=generator, dtype=torch.float64))
    return (left * torch.arange(1, min(count, channels) + 1) ** -1.0) @ right.T


@pytest.mark.parametrize(("count", "channels"), [(300, 40), (40, 300), (200, 160)])
def test_all_ways_find_the_same_axes(count: int, channels: int, monkeypatch: pytest.MonkeyPatch) -> None:
    table, ticks = decaying(count, channels), list[int]()
    _, singular, vectors = torch.linalg.svd(table, full_matrices=False)
    for size in (1, 1024):
        monkeypatch.setattr(projection, "_EXACT_SIZE", size)
        values, axes = principal_axes(table, 6, tick=lambda: ticks.append(1))
        assert_close(values, singular[:6].square(), rtol=1e-6, atol=0)
        assert_close((axes.T @ vectors[:6].T).abs(), torch.eye(6, dtype=torch.float64), atol=1e-4, rtol=0)
    assert ticks


def test_the_channels_of_diffusion_features_are_compressed() -> None:
    generator = torch.Generator().manual_seed(1)
    mixing = torch.randn(3200, 10, generator=generator)
    features = torch.einsum("ck,nkhw->nchw", mixing, torch.randn(3, 10, 20, 20, generator=generator)) + 5
    found = fit_projection(features, torch.ones(3, 1, 20, 20), dim=8, whitening=0.0)
    assert found.basis.shape == (8, 3200)
    assert found.retained > 0.7
    assert_close(found.basis @ found.basis.T, torch.eye(8), atol=1e-4, rtol=0)


def test_fewer_cells_than_channels_give_only_what_they_span() -> None:
    features = torch.randn(2, 50, 2, 2, generator=torch.Generator().manual_seed(2))
    found = fit_projection(features, torch.ones(2, 1, 2, 2), dim=20, whitening=0.5)
    assert found.basis.shape == (7, 50)
    assert found.retained == pytest.approx(1.0)
    assert found(features).isfinite().all()


def test_blank_features_do_no_harm() -> None:
    features = torch.ones(2, 5, 3, 3)
    found = fit_projection(features, torch.ones(2, 1, 3, 3), dim=4, whitening=0.5)
    assert len(found.basis) == 1
    assert found(features).isfinite().all()


def test_cells_without_weight_do_not_count() -> None:
    features = torch.randn(1, 6, 8, 8, generator=torch.Generator().manual_seed(3))
    features[..., 4:] *= 100
    weights = torch.ones(1, 1, 8, 8)
    weights[..., 4:] = 0
    found = fit_projection(features, weights, dim=3, whitening=0.5)
    alone = fit_projection(features[..., :4], weights[..., :4], dim=3, whitening=0.5)
    assert_close(found.basis, alone.basis)
    assert_close(found.mean, alone.mean)
