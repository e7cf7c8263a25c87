"""Fields on voxels and on hashed grids."""

import pytest
import torch
from torch import Tensor
from torch.nn.functional import softplus
from torch.testing import assert_close

from workers.methods.congealing_3d.generate.field import CanonicalField, harmonics
from workers.methods.congealing_3d.generate.grid_field import GridField
from workers.methods.congealing_3d.generate.hash_field import HashField, HashGrid


def points(count: int = 50) -> Tensor:
    return torch.rand(count, 3, generator=torch.Generator().manual_seed(3)) - 0.5


def small_hash() -> HashGrid:
    torch.manual_seed(0)
    return HashGrid(levels=4, table=1 << 10, base=4, growth=2.0)


FIELDS = pytest.mark.parametrize("field", [GridField((4, 8)), HashField(small_hash())], ids=["grid", "hash"])


@FIELDS
def test_a_field_begins_as_a_ball_of_a_quarter(field: CanonicalField) -> None:
    expected = softplus(10 * (1 - points().norm(dim=-1) / 0.25))
    assert_close(field.density(points()), expected, atol=1e-3, rtol=0)
    assert_close(field.shaded(points())[1], torch.full((50, 3), 0.5), atol=1e-3, rtol=0)


@FIELDS
def test_density_alone_is_the_density_beside_the_colour(field: CanonicalField) -> None:
    with torch.no_grad():
        for parameter in field.parameters():
            parameter.add_(torch.randn(parameter.shape, generator=torch.Generator().manual_seed(1)) * 0.3)
    assert_close(field.density(points()), field.shaded(points())[0])


@FIELDS
def test_every_parameter_is_of_one_kind(field: CanonicalField) -> None:
    kinds = [id(parameter) for group in field.rate_groups().values() for parameter in group]
    assert sorted(kinds) == sorted(id(parameter) for parameter in field.parameters())


def test_a_voxel_field_reads_x_y_and_z_from_the_cells_there() -> None:
    field = GridField((4,))
    with torch.no_grad():
        # Axes of the grid are z, y, x.
        field.grids[0][0, 0, 1, 2, 3] = 1.0
    place = torch.tensor([[3 / 4, 2 / 4, 1 / 4]]) - 0.5
    raw = field.raw_density(torch.cat([place, place + torch.tensor([[-0.25, 0, 0]]), place[:, [2, 1, 0]]]))
    assert raw.tolist() == [10.0, 0.0, 0.0]


def test_levels_that_are_not_used_do_not_count_and_do_not_learn() -> None:
    field = GridField((4, 8))
    with torch.no_grad():
        field.grids[1].fill_(1.0)
    field.use_levels(1)
    torch.autograd.backward(field.raw(points()).sum())
    assert float(field.raw_density(points()).detach().abs().max()) == 0
    assert field.grids[1].grad is None
    field.use_levels(2)
    assert_close(field.raw_density(points()), torch.full((50,), 10.0))


def test_a_hash_level_is_trilinear_in_the_entries_of_its_corners() -> None:
    grid = small_hash()
    place = torch.tensor([[0.3, 0.55, 0.8]])
    found = grid(place)
    for level, scale in enumerate(grid.scales):
        start = sum(grid.entries[:level])
        position = (place[0] * scale + 0.5).tolist()
        expected = torch.zeros(2)
        for corner in range(8):
            weight, index = 1.0, []
            for axis in range(3):
                bit = corner >> axis & 1
                share = position[axis] % 1
                weight *= share if bit else 1 - share
                index.append(int(position[axis]) + bit)
            expected += weight * grid.features[start + hashed(grid, level, index)].detach()
        assert_close(found[0, 2 * level : 2 * level + 2].detach(), expected, atol=1e-9, rtol=1e-4)


def hashed(grid: HashGrid, level: int, corner: list[int]) -> int:
    """The row as the published code finds it, in unsigned 32-bit arithmetic."""
    x, y, z = corner
    side = grid.resolutions[level]
    if side**3 <= 1 << 10:
        return (x + side * y + side * side * z) % grid.entries[level]
    word = (1 << 32) - 1
    return ((x & word) ^ (y * 2654435761 & word) ^ (z * 805459861 & word)) % grid.entries[level]


def test_harmonics_are_orthonormal_on_the_sphere() -> None:
    # A Fibonacci sphere integrates degrees as low as these almost exactly.
    count = 4000
    index = torch.arange(count, dtype=torch.float64) + 0.5
    height, turn = 1 - 2 * index / count, index * torch.pi * (1 + 5**0.5)
    ring = (1 - height**2).sqrt()
    values = harmonics(torch.stack([ring * turn.cos(), ring * turn.sin(), height], dim=-1))
    assert_close(4 * torch.pi * values.T @ values / count, torch.eye(9, dtype=torch.float64), atol=2e-3, rtol=0)
