import pytest
import torch
from torch import Tensor

from workers.methods.congealing_3d.maps.membrane import Membrane, solve

SIZE = 6


def drawn(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@pytest.fixture
def membrane() -> Membrane:
    return Membrane(drawn(2, 1, SIZE, SIZE - 1).abs(), drawn(2, 1, SIZE - 1, SIZE, seed=1).abs())


def dense(membrane: Membrane, springs: Tensor) -> Tensor:
    """The matrices (N, 2 G G, 2 G G) of springs and membrane."""
    basis = torch.eye(2 * SIZE**2, dtype=torch.float64).view(-1, 1, 2, SIZE, SIZE).expand(-1, 2, -1, -1, -1)
    columns = []
    for field in basis:
        x, y = field[:, :1], field[:, 1:]
        own = torch.cat([springs[:, :1] * x + springs[:, 1:2] * y, springs[:, 1:2] * x + springs[:, 2:] * y], dim=1)
        columns.append((own + membrane.pull(field)).flatten(1))
    return torch.stack(columns, dim=2)


def test_the_solution_is_that_of_the_whole_matrix(membrane: Membrane) -> None:
    roots = drawn(2, SIZE, SIZE, 2, 2, seed=2)
    matrices = roots @ roots.transpose(3, 4)
    springs = torch.stack([matrices[..., 0, 0], matrices[..., 0, 1], matrices[..., 1, 1]], dim=1)
    forces = drawn(2, 2, SIZE, SIZE, seed=3)
    expected = torch.linalg.solve(dense(membrane, springs), forces.flatten(1))
    torch.testing.assert_close(solve(springs, membrane, forces, steps=80).flatten(1), expected)


def test_the_pull_is_half_the_gradient_of_the_energy(membrane: Membrane) -> None:
    fields = drawn(2, 2, SIZE, SIZE).requires_grad_()
    gradient = torch.autograd.grad(membrane.energy(fields).sum(), fields)[0]
    torch.testing.assert_close(membrane.pull(fields), gradient / 2)


def test_a_constant_field_costs_nothing(membrane: Membrane) -> None:
    torch.testing.assert_close(membrane.energy(torch.ones(2, 2, SIZE, SIZE).double()), torch.zeros(2).double())


def test_nodes_are_tied_loosely_across_an_edge_between_features_and_off_the_object() -> None:
    features = drawn(1, 8, 1, 1).expand(1, 8, SIZE, SIZE) + 0.05 * drawn(1, 8, SIZE, SIZE, seed=1)
    features[..., SIZE // 2 :] *= -1
    mask = torch.ones(1, 1, SIZE, SIZE, dtype=torch.float64)
    mask[:, :, -1] = 0
    tied = Membrane.over(features, mask).within(mask)
    edge = SIZE // 2 - 1
    assert tied.across[..., :-1, edge].max() < 0.1
    assert tied.across[..., :-1, :edge].mean() > 0.7
    assert tied.across[..., -1, :].max() < 0.1
    assert tied.down[..., -1, :].max() < 0.1
