import pytest
import torch
from torch import Tensor

from workers.geometry.coordinates import identity_grid
from workers.geometry.flows import dense_flow, evaluate_flow
from workers.geometry.inversion import (
    fold_fraction,
    invert_at,
    invert_at_plainly,
    invert_grid,
    jacobian_determinant,
    nearest_inverse,
    round_trip_error,
)
from workers.geometry.similarity import similarity_matrix, transform

HALF_FRAME_PX = 128


def warp(points: Tensor, controls: Tensor, parameters: Tensor) -> Tensor:
    moved = points.unsqueeze(0) + evaluate_flow(controls, points)
    return transform(similarity_matrix(parameters), moved)


def grid(size: int, *, strength: float = 0.05, seed: int = 0) -> tuple[Tensor, Tensor, Tensor]:
    controls = strength * torch.randn(1, 2, 8, 8, generator=torch.Generator().manual_seed(seed))
    parameters = torch.tensor([[0.4, 0.8, 0.1, -0.15]])
    points = identity_grid(size, size)
    return warp(points.reshape(-1, 2), controls, parameters).view(size, size, 2), controls, parameters


@pytest.mark.parametrize("seed", range(4))
def test_cycle_stays_below_a_tenth_of_a_pixel(seed: int) -> None:
    table, _, _ = grid(128, seed=seed)
    inverse = invert_grid(table, 256, 256)
    error = round_trip_error(table, inverse)[inverse.valid] * HALF_FRAME_PX
    assert inverse.valid.float().mean() > 0.5
    assert error.max() < 0.1


@pytest.mark.parametrize(("size", "strength"), [(64, 0.05), (128, 0.1), (128, 0.3)])
def test_agrees_with_the_plain_way(size: int, strength: float) -> None:
    table, _, _ = grid(size, strength=strength)
    points = identity_grid(96, 96).reshape(-1, 2)
    fast, plain = invert_at(table, points), invert_at_plainly(table, points)
    both = fast.valid & plain.valid
    assert (fast.valid ^ plain.valid).sum() <= 2
    assert (fast.points - plain.points)[both].abs().max() * HALF_FRAME_PX < 1e-3
    assert both.float().mean() > 0.3


def test_folded_places_are_not_valid_and_nothing_is_nan() -> None:
    table, _, _ = grid(96, strength=0.6)
    inverse = invert_grid(table, 128, 128)
    assert 0.02 < float(fold_fraction(table.unsqueeze(0))) < 0.9
    assert inverse.points.isfinite().all()
    assert round_trip_error(table, inverse)[inverse.valid].max() * HALF_FRAME_PX < 0.1
    flat = torch.zeros(16, 16, 2)
    assert not invert_grid(flat, 32, 32).valid.any()
    assert invert_grid(flat, 32, 32).points.isfinite().all()


def test_far_points_get_the_nearest_cell() -> None:
    table = 0.1 * identity_grid(32, 32)
    inverse = invert_at(table, torch.tensor([[0.9, 0.9], [-0.9, 0.05]]))
    assert not inverse.valid.any()
    torch.testing.assert_close(inverse.points[0], identity_grid(32, 32)[31, 31])
    assert float(inverse.points[1, 0]) == pytest.approx(-31 / 32)


def test_points_that_were_sent_come_back() -> None:
    table, controls, parameters = grid(128)
    points = torch.rand(400, 2, generator=torch.Generator().manual_seed(1)) * 1.8 - 0.9
    inverse = invert_at(table, warp(points, controls, parameters)[0])
    assert inverse.valid.all()
    assert (inverse.points - points).norm(dim=1).max() * HALF_FRAME_PX < 0.1


def test_agrees_with_the_whole_cell_inverse_within_a_cell() -> None:
    table, _, _ = grid(32)
    points = table.reshape(-1, 2)[::7] + 0.005
    inverse = invert_at(table, points)
    gap = (inverse.points - nearest_inverse(table, points)).abs().max(dim=1).values
    assert gap[inverse.valid].max() < 2 / 32
    assert inverse.valid.float().mean() > 0.9


def test_outside_the_atlas_is_not_valid() -> None:
    table = 0.5 * identity_grid(64, 64)
    inverse = invert_grid(table, 64, 64)
    inside = identity_grid(64, 64).abs().amax(dim=-1) < 0.5
    assert (inverse.valid == inside).all()
    torch.testing.assert_close(inverse.points[inside], 2 * identity_grid(64, 64)[inside], atol=1e-5, rtol=0)
    assert inverse.points.abs().max() <= 1
    assert round_trip_error(table, inverse)[~inside].isnan().all()


def test_mirrored_maps_have_no_valid_inverse() -> None:
    table = identity_grid(16, 16) * torch.tensor([-1.0, 1.0])
    assert not invert_grid(table, 16, 16).valid.any()
    assert float(fold_fraction(table.unsqueeze(0))) == 1.0


def test_determinant_is_the_change_of_area() -> None:
    similarity = similarity_matrix(torch.tensor([[0.7, 0.6, 0.2, 0.1]]))
    tables = transform(similarity, identity_grid(20, 20).unsqueeze(0))
    torch.testing.assert_close(jacobian_determinant(tables), torch.full((1, 19, 19), 0.36), atol=1e-4, rtol=0)


def test_fold_fraction_counts_weighted_cells() -> None:
    controls = torch.zeros(1, 2, 8, 8)
    controls[0, 0, :, 3] = 1.5
    tables = identity_grid(40, 40).unsqueeze(0) + dense_flow(controls, 40)
    weights = (identity_grid(40, 40)[..., 0] > 0.5).float()
    assert 0.02 < float(fold_fraction(tables)) < 0.5
    assert float(fold_fraction(tables, weights)) == 0.0
