import pytest
import torch
from torch import Tensor
from torch.nn.functional import avg_pool2d, normalize

from tests.workers.methods.geo_aware.fields import field, grid
from workers.geometry.coordinates import identity_grid, normalised_to_index
from workers.matching.soft_argmax import Softness
from workers.methods.geo_aware.imd import imd_matrix
from workers.methods.geo_aware.keypoint_mode import merged, query
from workers.methods.geo_aware.variants import VARIANTS, choose, mask, picture, to_variant

SIDE = 30
SOFTNESS = Softness(temperature=0.02, window=5)
SHIFT = torch.tensor([1.3, -2.4])
POINTS = torch.tensor([[8.2, 11.9], [15.45, 20.5], [21.0, 7.75], [12.49, 14.51]])


def shifted() -> tuple[Tensor, Tensor]:
    return field(grid(SIDE, SIDE) + SHIFT), field(grid(SIDE, SIDE))


def test_points_between_cells_are_found_between_cells() -> None:
    exact = query(*shifted(), POINTS, SOFTNESS)
    coarse = query(*shifted(), POINTS, SOFTNESS, subcell=False)
    gaps = [(found.cells - POINTS - SHIFT).norm(dim=1) for found in (exact, coarse)]
    assert gaps[0].max() < 0.2
    assert gaps[0].mean() < gaps[1].mean() / 2
    assert exact.cycle.max() <= 1
    assert exact.confidence.min() > 0.8


def test_the_official_way_asks_for_the_cell_a_point_is_in() -> None:
    cells = torch.tensor([[8.0, 12.0], [15.0, 21.0], [21.0, 8.0], [12.0, 15.0]])
    assert torch.equal((POINTS + 0.5).floor(), cells)
    found, whole = (query(*shifted(), points, SOFTNESS, subcell=False) for points in (POINTS, cells))
    torch.testing.assert_close(found.cells, whole.cells)
    torch.testing.assert_close(query(*shifted(), cells, SOFTNESS).cells, whole.cells)


@pytest.mark.parametrize("subcell", [True, False])
def test_points_on_the_far_edge_are_read_at_the_last_cell(subcell: bool) -> None:
    edge = torch.tensor([[SIDE - 0.5, 4.0], [-0.5, SIDE - 0.5]])
    last = torch.tensor([[SIDE - 1.0, 4.0], [0.0, SIDE - 1.0]])
    found, whole = (query(*shifted(), points, SOFTNESS, subcell=subcell) for points in (edge, last))
    torch.testing.assert_close(found.cells, whole.cells)


def test_masks_bound_where_points_and_ways_back_may_end() -> None:
    right, low = (grid(SIDE, SIDE)[..., axis] > 20 for axis in (0, 1))
    found = query(*shifted(), POINTS, SOFTNESS, source_mask=low, target_mask=right)
    assert found.cells[:, 0].min() >= 21
    assert found.cycle[0] > 8


def test_no_points_are_no_places() -> None:
    assert query(*shifted(), POINTS[:0], SOFTNESS).cells.shape == (0, 2)


def test_without_the_targets_visibility_the_source_alone_decides() -> None:
    native, flipped = torch.zeros(5, 2), torch.ones(5, 2)
    source = torch.tensor([True, True, True, False, True])
    becomes = torch.tensor([1, 0, 3, 2, 4])
    places, used = merged(native, flipped, source, None, becomes)
    assert used.tolist() == [True, True, False, False, True]
    assert torch.equal(places, used.float().unsqueeze(1).expand(-1, 2))


FRAME = 240
CELLS = 30


def drawing(places: Tensor) -> Tensor:
    """Colours (3, ...) at places (..., 2) in [-1, 1]: waves, and a blob of its own colour off the centre."""
    x, y = places.unbind(dim=-1)
    blob = torch.exp(-((x - 0.25).square() + (y + 0.2).square()) / 0.05)
    waves = [torch.sin(9 * x + 2 * y), torch.sin(7 * y - 3 * x + 1), torch.cos(6 * x + 6 * y + 2)]
    return 0.5 + 0.2 * torch.stack(waves) + 0.2 * blob


def described(frame: Tensor) -> Tensor:
    """Unit vectors (C, 30, 30) of a frame (3, 240, 240): mean colours and slopes near each cell, which turn with it."""
    grey = frame - frame.mean(dim=(1, 2), keepdim=True)
    slopes = [torch.gradient(grey, dim=axis)[0] * 15 for axis in (1, 2)]
    stack = torch.cat([grey, *slopes]).unsqueeze(0)
    near = [avg_pool2d(stack, 8), avg_pool2d(stack, 40, 8, 16, count_include_pad=False)]
    return normalize(torch.cat(near, dim=1)[0], dim=0)


@pytest.mark.parametrize("name", list(VARIANTS))
def test_a_turned_picture_is_turned_back_and_its_points_are_found(name: str) -> None:
    """The source shows the drawing turned; of all poses the one that undoes it is nearest to the drawing itself."""
    made = VARIANTS[name]
    target = drawing(identity_grid(FRAME, FRAME))
    source = picture(target, made)
    disc = identity_grid(CELLS, CELLS).norm(dim=2) < 0.6
    tried = list(VARIANTS.values())
    features = [described(picture(source, variant)) for variant in tried]
    masks = [mask(disc, variant)[None] for variant in tried]
    matrix = imd_matrix(
        [torch.stack([maps, maps]) for maps in features],
        torch.stack([described(target)] * 2),
        [inside.expand(2, -1, -1) for inside in masks],
        disc.expand(2, -1, -1),
        pairs=[(0, 1)],
    )
    best = tried[choose(matrix[0, 1])]
    inverse = made.degrees if made.flip else -made.degrees
    assert (best.flip, best.degrees % 360) == (made.flip, inverse % 360)
    where = torch.tensor([[0.3, -0.2], [-0.25, 0.3], [0.05, 0.1], [-0.3, -0.3]])
    asked = to_variant(to_variant(where, made), best)
    found = query(
        features[tried.index(best)],
        described(target),
        normalised_to_index(asked, size=CELLS),
        SOFTNESS,
    )
    gaps = found.cells - normalised_to_index(where, size=CELLS)
    assert gaps.norm(dim=1).max() < 1
