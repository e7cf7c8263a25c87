import torch
from torch import Tensor

from workers.geometry.coordinates import identity_grid
from workers.methods.congealing_3d.maps.forward import forward_map, look_up, window_places
from workers.methods.congealing_3d.maps.warp import Warps

SIZE = 16


def plane() -> Tensor:
    """Canonical places (3, s, s) of a plane that fills the window."""
    grid = identity_grid(SIZE, SIZE)
    return torch.stack([0.4 * grid[..., 0], -0.4 * grid[..., 1], torch.full((SIZE, SIZE), 0.1)])


def still(cosine: float = 1.0) -> Warps:
    whole = torch.ones(1, 1, 8, 8)
    return Warps(torch.zeros(1, 2, 8, 8), cosine * whole, whole)


def everywhere() -> Tensor:
    return torch.ones(1, SIZE, SIZE, dtype=torch.bool)


def test_cells_cover_the_image_and_those_beyond_the_window_are_unknown() -> None:
    window = torch.tensor([0.4, 0.0, 1.0])
    found = forward_map(still(), plane(), everywhere(), window, aspect=2.0, rows=10, columns=20)
    known = found.coordinates.isfinite().all(dim=-1)
    assert known[:, 7:17].all()
    assert int(known.sum()) == 100
    at = window_places(window, aspect=2.0, rows=10, columns=20)
    middle = (at.abs() < 0.9).all(dim=-1)
    expected = torch.stack([0.4 * at[..., 0], -0.4 * at[..., 1], torch.full((10, 20), 0.1)], dim=-1)
    torch.testing.assert_close(found.coordinates[middle], expected[middle])
    assert (found.confidence[~known] == 0).all()


def test_confidence_is_the_cosine_by_what_both_masks_show() -> None:
    hit = everywhere()
    hit[:, :, SIZE // 2 :] = False
    mask = torch.full((SIZE, SIZE), 0.8)
    mask[0] = 0.2
    window = torch.tensor([0.0, 0.0, 1.0])
    found = forward_map(still(0.5), plane(), hit, window, aspect=1.0, rows=SIZE, columns=SIZE, image_mask=mask)
    torch.testing.assert_close(found.confidence[1:, : SIZE // 2], torch.full((SIZE - 1, SIZE // 2), 0.4))
    assert (found.confidence[:, SIZE // 2 :] == 0).all()
    assert found.coordinates[0].isnan().all()


def test_opposite_features_are_not_trusted() -> None:
    window = torch.tensor([0.0, 0.0, 1.0])
    found = forward_map(still(-0.5), plane(), everywhere(), window, aspect=1.0, rows=4, columns=4)
    assert (found.confidence == 0).all()


def test_silhouettes_are_not_pulled_to_the_origin() -> None:
    hit = everywhere()
    hit[:, :, SIZE // 2 :] = False
    places = torch.tensor([[0.02, 0.0], [0.12, 0.0]])
    values, weights = look_up(plane() * hit, hit, places)
    edge = 0.4 * (1 / SIZE - 0.125)
    torch.testing.assert_close(values[0], torch.tensor([edge, 0.0, 0.1]))
    torch.testing.assert_close(weights, torch.tensor([0.5 - 0.02 * SIZE / 2, 0.0]))


def test_places_between_two_surfaces_belong_to_one_of_them() -> None:
    surfaces = plane()
    surfaces[2, :, SIZE // 2 :] = -0.3
    x = torch.linspace(-0.06, 0.06, 40)
    values, weights = look_up(surfaces, everywhere(), torch.stack([x, torch.zeros(40)], dim=-1))
    torch.testing.assert_close(values[:, 2], torch.where(x < 0, 0.1, -0.3))
    torch.testing.assert_close(weights, torch.ones(40))
