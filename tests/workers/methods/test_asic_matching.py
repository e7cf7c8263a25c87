"""What is matched with what."""

from itertools import combinations

import pytest
import torch
from torch import Tensor
from torch.nn.functional import normalize

from workers.geometry.coordinates import identity_grid
from workers.geometry.joint_splines import PairedPoints
from workers.methods.asic.matching import all_cells, cells_of, chosen_cells, chosen_pairs, matched

CELLS = 8


def described(count: int = 3, cells: int = CELLS, seed: int = 0) -> Tensor:
    return torch.randn(count, 16, cells, cells, generator=torch.Generator().manual_seed(seed))


def areas(count: int = 3) -> Tensor:
    """The left three quarters of the first picture, the right half of the second, a corner of the others."""
    area = torch.zeros(count, 1, CELLS, CELLS)
    area[0, :, :, :6] = 1
    area[1, :, :, 4:] = 1
    area[2:, :, :3, :3] = 1
    return area


@pytest.mark.parametrize(("count", "partners"), [(2, 2), (3, 2), (7, 3), (12, 4), (23, 5), (60, 20), (60, 59), (9, 20)])
def test_every_image_has_partners_and_all_hang_together(count: int, partners: int) -> None:
    pairs = chosen_pairs(count, partners, seed=3)
    assert pairs == sorted(set(pairs))
    assert all(0 <= first < second < count for first, second in pairs)
    linked = torch.zeros(count, count, dtype=torch.float64)
    for first, second in pairs:
        linked[first, second] = linked[second, first] = 1
    degrees = linked.sum(dim=1)
    assert degrees.min() >= min(partners, count - 1)
    assert degrees.max() <= partners + 1
    reached = torch.linalg.matrix_power(linked + torch.eye(count), count) > 0
    assert reached.all()


def test_small_sets_are_matched_wholly_and_others_by_their_seed() -> None:
    assert chosen_pairs(6, 20, seed=0) == list(combinations(range(6), 2))
    assert chosen_pairs(21, 20, seed=0) == list(combinations(range(21), 2))
    assert chosen_pairs(30, 4, seed=1) == chosen_pairs(30, 4, seed=1) != chosen_pairs(30, 4, seed=2)


def test_only_cells_on_the_objects_are_listed() -> None:
    features, area = described(), areas()
    found = cells_of(features, area, CELLS)
    centres = identity_grid(CELLS, CELLS)
    for index in range(3):
        inside = area[index, 0] > 0
        assert torch.equal(found.places[index], centres[inside])
        assert torch.equal(found.features[index], features[index].permute(1, 2, 0)[inside])
    assert found.on_object is None


def test_cells_are_pooled_and_count_where_the_area_covers_most_of_them() -> None:
    features, area = described(1), torch.zeros(1, 1, CELLS, CELLS)
    area[..., :2, :2] = 1
    area[..., :2, 4] = 1
    found = cells_of(features, area, CELLS // 2)
    assert found.places[0].tolist() == [[-0.75, -0.75]]
    torch.testing.assert_close(found.features[0][0], features[0, :, :2, :2].mean(dim=(1, 2)))
    assert len(cells_of(features, torch.ones_like(area), 100).places[0]) == CELLS**2


def nearest(first: Tensor, second: Tensor) -> tuple[Tensor, Tensor]:
    similarity = normalize(first, dim=1) @ normalize(second, dim=1).T
    return similarity.argmax(dim=1), similarity.argmax(dim=0)


def as_rows(matches: PairedPoints, pair: int) -> set[tuple[float, ...]]:
    kept = matches.weights[pair] > 0
    return {tuple(row) for row in torch.cat([matches.first_points, matches.second_points], dim=2)[pair][kept].tolist()}


def test_matches_are_mutual_nearest_neighbours_within_the_areas() -> None:
    pairs = [(0, 1), (0, 2), (1, 2)]
    cells = cells_of(described(), areas(), CELLS)
    found = matched(cells, cells, pairs, most=None)
    assert torch.stack([found.first, found.second], dim=1).tolist() == [list(pair) for pair in pairs]
    for row, (i, j) in enumerate(pairs):
        there, back = nearest(cells.features[i], cells.features[j])
        wanted = {
            (*cells.places[i][a].tolist(), *cells.places[j][int(b)].tolist())
            for a, b in enumerate(there)
            if back[b] == a
        }
        assert as_rows(found, row) == wanted


def test_shorter_lists_are_padded_and_the_most_similar_are_kept() -> None:
    pairs = [(0, 1), (0, 2), (1, 2)]
    cells = cells_of(described(), areas(), CELLS)
    everything, few = (matched(cells, cells, pairs, most=most) for most in (None, 4))
    counts = (everything.weights > 0).sum(dim=1)
    assert counts.max() == everything.weights.shape[1]
    assert counts.min() < counts.max()
    assert few.weights.tolist() == [[1.0] * 4] * 3
    for row, count in enumerate(counts.tolist()):
        assert (everything.weights[row, :count] == 1).all()
        assert everything.first_points[row, count:].abs().sum() == 0
        assert as_rows(few, row) <= as_rows(everything, row)
    there, back = nearest(cells.features[0], cells.features[1])
    similarity = (normalize(cells.features[0], dim=1) @ normalize(cells.features[1], dim=1).T).amax(dim=1)
    mutual = similarity[back[there] == torch.arange(len(there))].sort(descending=True).values
    chosen = [int((cells.places[0] == point).all(dim=1).nonzero()) for point in few.first_points[0]]
    torch.testing.assert_close(similarity[chosen], mutual[:4])


def test_guided_matches_are_mutually_best_by_features_and_places() -> None:
    cells = cells_of(described(), areas(), CELLS)
    plane = [places + 0.1 * index for index, places in enumerate(cells.places)]
    found = matched(cells, cells, [(0, 1)], most=None, plane=plane)
    cosine = normalize(cells.features[0], dim=1) @ normalize(cells.features[1], dim=1).T
    worth = cosine - 0.3 / 0.36 * torch.cdist(plane[0], plane[1]).square()
    there, back = worth.argmax(dim=1), worth.argmax(dim=0)
    wanted = {
        (*cells.places[0][a].tolist(), *cells.places[1][int(b)].tolist()) for a, b in enumerate(there) if back[b] == a
    }
    assert as_rows(found, 0) == wanted != as_rows(matched(cells, cells, [(0, 1)], most=None), 0)


def test_cells_are_taken_from_the_mirror_image_where_asked() -> None:
    upright, turned = (cells_of(described(seed=seed), areas(), CELLS) for seed in (0, 1))
    found = chosen_cells(upright, turned, torch.tensor([False, True, False]))
    for index, side in enumerate((upright, turned, upright)):
        assert torch.equal(found.features[index], side.features[index])


def test_an_image_without_cells_gets_no_matches() -> None:
    area = areas()
    area[1] = 0
    cells = cells_of(described(), area, CELLS)
    found = matched(cells, cells, [(0, 1), (0, 2), (1, 2)], most=None)
    assert ((found.weights > 0).sum(dim=1) > 0).tolist() == [False, True, False]
    nothing = cells_of(described(), 0 * area, CELLS)
    assert matched(nothing, nothing, [(0, 1)], most=None).weights.shape == (1, 0)


def test_official_filter_asks_only_for_some_voter_on_the_object() -> None:
    area = areas(2)
    cells = all_cells(described(2), area, CELLS)
    assert [len(places) for places in cells.places] == [CELLS**2] * 2
    assert cells.on_object is not None
    there, back = nearest(cells.features[0], cells.features[1])
    voters = {int(back[b]) for b in area[1].flatten().nonzero()}
    own = area[0].flatten() > 0
    wanted = {a for a, b in enumerate(there.tolist()) if back[b] == a and own[a] and a in voters}
    found = matched(cells, cells, [(0, 1)], most=None)
    kept = {int((cells.places[0] == point).all(dim=1).nonzero()) for point in found.first_points[0]}
    assert kept == wanted
    assert any(not area[1].flatten()[there[a]] for a in wanted)
