import pytest
import torch
from torch import Tensor

from workers.geometry.coordinates import identity_grid
from workers.geometry.flows import (
    bending_operator,
    dense_flow,
    evaluate_flow,
    flow_operator,
    identity_controls,
    smoothness_operator,
    spline_basis,
)


def random_controls(count: int = 2, side: int = 8) -> Tensor:
    return torch.randn(count, 2, side, side, generator=torch.Generator().manual_seed(3), dtype=torch.float64)


@pytest.mark.parametrize("controls", [4, 5, 8, 13])
def test_basis_sums_to_one_and_reproduces_lines(controls: int) -> None:
    points = torch.linspace(-1.2, 1.2, 41, dtype=torch.float64)
    basis = spline_basis(points, controls)
    torch.testing.assert_close(basis.sum(dim=1), torch.ones_like(points))
    step = 2 / (controls - 3)
    knots = -1 + step * (torch.arange(controls, dtype=torch.float64) - 1)
    torch.testing.assert_close(basis @ knots, points)


@pytest.mark.parametrize("order", [1, 2])
def test_basis_derivatives_are_slopes(order: int) -> None:
    points = torch.linspace(-0.95, 0.95, 30, dtype=torch.float64)
    beside = [spline_basis(points + shift, 8, derivative=order - 1) for shift in (1e-6, -1e-6)]
    numeric = (beside[0] - beside[1]) / 2e-6
    torch.testing.assert_close(spline_basis(points, 8, derivative=order), numeric, atol=1e-6, rtol=1e-5)


def test_identity_controls_give_back_the_point() -> None:
    points = torch.rand(20, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(1)) * 2 - 1
    torch.testing.assert_close(evaluate_flow(identity_controls(7)[None], points)[0], points)


def test_bending_costs_nothing_for_affine_fields_and_what_it_should_for_a_parabola() -> None:
    x, y = identity_controls(8).flatten(1)
    operator = bending_operator(8)
    affine = 0.3 + 2 * x - 0.7 * y
    assert affine @ operator @ affine < 1e-12
    axis = torch.linspace(-1, 1, 30, dtype=torch.float64)
    points = torch.cartesian_prod(axis, axis)
    wanted = points[:, 0] ** 2 + 3 * points[:, 0] * points[:, 1]
    controls = torch.linalg.lstsq(flow_operator(points, 8), wanted[:, None]).solution[:, 0]
    assert float(controls @ operator @ controls) == pytest.approx(2**2 + 2 * 3**2)


def test_too_few_controls_are_named() -> None:
    with pytest.raises(ValueError, match="3 control points"):
        spline_basis(torch.zeros(1), 3)


def test_three_ways_to_read_a_flow_agree() -> None:
    controls = random_controls()
    points = identity_grid(12, 12).reshape(-1, 2).double()
    plain = evaluate_flow(controls, points)
    prepared = torch.einsum("pa,nca->npc", flow_operator(points, 8), controls.flatten(2))
    torch.testing.assert_close(prepared, plain)
    torch.testing.assert_close(dense_flow(controls, 12).reshape(2, -1, 2), plain, atol=1e-6, rtol=0)


def test_prepared_operator_has_the_same_gradient() -> None:
    points = identity_grid(9, 9).reshape(-1, 2).double()
    gradients = []
    for prepared in (False, True):
        controls = random_controls().requires_grad_()
        if prepared:
            flow = torch.einsum("pa,nca->npc", flow_operator(points, 8), controls.flatten(2))
        else:
            flow = evaluate_flow(controls, points)
        (gradient,) = torch.autograd.grad(flow.sin().sum(), controls)
        gradients.append(gradient)
    torch.testing.assert_close(gradients[0], gradients[1])


def test_smoothness_is_the_mean_squared_gradient() -> None:
    controls = random_controls(count=1)[0, 0]
    size = 400
    field = dense_flow(controls.expand(1, 2, -1, -1), size)[0, ..., 0]
    along_x = (field[:, 1:] - field[:, :-1]) * size / 2
    along_y = (field[1:] - field[:-1]) * size / 2
    numeric = along_x.square().mean() + along_y.square().mean()
    flat = controls.reshape(-1).float()
    assert float(flat @ smoothness_operator(8) @ flat) == pytest.approx(float(numeric), rel=0.02)
    steady = torch.ones(64)
    assert float(steady @ smoothness_operator(8) @ steady) == pytest.approx(0, abs=1e-4)
