"""T10 and T11 of the spec: there and back, and from one animal to another through the shape."""

import pytest
import torch
from torch import Tensor

from tests.workers.methods.congealing_3d.maps import toy
from tests.workers.methods.congealing_3d.maps.animals import WHOLE, Scene, scene
from workers.geometry.coordinates import identity_grid, sample
from workers.methods.congealing_3d.maps.forward import forward_map, look_up
from workers.methods.congealing_3d.maps.reverse import reverse_map
from workers.methods.congealing_3d.maps.warp import Warps, find_warps

COUNT = 4
VERTICES = 20


@pytest.fixture(scope="module")
def drawn() -> Scene:
    return scene(COUNT, seed=4)


@pytest.fixture(scope="module")
def warps(drawn: Scene) -> Warps:
    return find_warps(drawn.features, drawn.mask, drawn.rendered, drawn.rendered_mask)


def test_there_and_back_ends_where_it_began(drawn: Scene, warps: Warps) -> None:
    own, off = identity_grid(64, 64), []
    for index in range(COUNT):
        shown = drawn.render.places[index], drawn.hit(index)
        there = forward_map(warps[index], *shown, WHOLE, aspect=1.0, rows=64, columns=64)
        known = there.confidence > 0
        back = reverse_map(warps[index], *shown, there.coordinates[known])
        assert back.visible.all()
        off.append((back.points - own[known]).norm(dim=1) * toy.CELLS / 2)
    patches = torch.cat(off)
    assert float(patches.median()) < 0.1
    assert float(patches.quantile(0.95)) < 1.5


def visible(drawn: Scene, index: int) -> tuple[Tensor, Tensor]:
    """Where all points lie in a window, (M, 2), and which of them (M,) are seen."""
    at = drawn.cameras[index].project(drawn.instances[index : index + 1])[0][0]
    at = (at - drawn.windows[index, :2]) / drawn.windows[index, 2]
    seen, weight = look_up(drawn.real.places[index], drawn.real.mask[index] > 0, at)
    return at, ((seen - toy.canonical_points()).norm(dim=1) < 0.01) & (weight > 0.9)


def test_points_go_from_one_animal_to_another() -> None:
    drawn = scene(2, seed=8)
    warps = find_warps(drawn.features, drawn.mask, drawn.rendered, drawn.rendered_mask)
    (start, first), (end, second) = visible(drawn, 0), visible(drawn, 1)
    both = (first & second).nonzero().squeeze(1)
    chosen = both[torch.randperm(len(both), generator=torch.Generator().manual_seed(0))[:VERTICES]]
    moved = start[chosen] + sample(warps[0].displacement, start[chosen][None, None])[0, :, 0].T
    places, _ = look_up(drawn.render.places[0], drawn.hit(0), moved)
    found = reverse_map(warps[1], drawn.render.places[1], drawn.hit(1), places)
    rows, columns = (drawn.real.mask[1, 0] > 0).nonzero().unbind(dim=1)
    side = 2 * max(int(rows.max() - rows.min()), int(columns.max() - columns.min())) / toy.PIXELS
    right = int(((found.points - end[chosen]).norm(dim=1) < 0.1 * side).sum())
    assert len(chosen) == VERTICES
    assert right > 0.9 * VERTICES


def test_what_the_render_does_not_show_is_hidden(drawn: Scene, warps: Warps) -> None:
    points = toy.canonical_points()[::500]
    found = reverse_map(warps[0], drawn.render.places[0], drawn.hit(0), points)
    shown = drawn.render.places[0][:, drawn.hit(0)[0]].T
    nearest = torch.cdist(points, shown).amin(dim=1)
    torch.testing.assert_close(found.distance, nearest, atol=1e-4, rtol=0)
    assert (found.visible == (nearest <= 0.025)).all()
    assert 0.5 < float(found.visible.float().mean()) < 0.9


def test_an_empty_render_is_told(drawn: Scene, warps: Warps) -> None:
    with pytest.raises(ValueError, match="render or the image's mask is empty"):
        reverse_map(warps[0], drawn.render.places[0], torch.zeros_like(drawn.hit(0)), torch.zeros(1, 3))
