import pytest
import torch
from torch import Tensor
from torch.nn.functional import normalize

from workers.evaluation.official_imd import official_imd, official_mutual_distance
from workers.matching import chunks
from workers.methods.geo_aware.imd import imd, imd_matrix, mutual_distance, resampled
from workers.methods.geo_aware.variants import choose, chosen

SIDE = 12
CHANNELS = 7


def random(*shape: int, seed: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def units(count: int, *, seed: int) -> Tensor:
    return normalize(random(count, CHANNELS, SIDE, SIDE, seed=seed), dim=1)


def spots(count: int, *, seed: int) -> Tensor:
    return random(count, SIDE, SIDE, seed=seed) > 0.3


@pytest.mark.parametrize("masked", [True, False])
def test_chunks_give_what_the_loop_over_cells_gives(masked: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(chunks, "ELEMENTS", 4 * 2 * SIDE * SIDE)
    first, second = units(2, seed=1)
    mask, other = spots(2, seed=2)
    ticks: list[int] = []
    found = imd(first, second, mask, other if masked else None, tick=lambda: ticks.append(1))
    assert found == pytest.approx(official_imd(first, second, mask, other if masked else None), abs=1e-6)
    assert len(ticks) > 5


def test_maps_need_not_have_one_size_or_unit_vectors() -> None:
    first, second = 3 * random(CHANNELS, 6, 9, seed=3), random(CHANNELS, 11, 5, seed=4)
    mask = random(6, 9, seed=5) > 0
    assert imd(first, second, mask) == pytest.approx(official_imd(first, second, mask), abs=1e-5)


def test_an_image_lies_at_no_distance_from_itself() -> None:
    features = units(1, seed=6)[0]
    assert imd(features, features, torch.ones(SIDE, SIDE, dtype=torch.bool)) == 0
    assert mutual_distance(features, features) == 0


def test_the_distance_is_a_mean_not_a_sum() -> None:
    first, second = units(2, seed=7)
    mask = spots(1, seed=8)[0]
    twice = torch.cat([first, first], dim=2), torch.cat([mask, mask], dim=1)
    assert imd(*twice[:1], second, twice[1]) == pytest.approx(imd(first, second, mask), abs=1e-6)


def test_nothing_inside_a_mask_is_no_distance() -> None:
    first, second = units(2, seed=9)
    nothing, all_of_it = torch.zeros(SIDE, SIDE, dtype=torch.bool), torch.ones(SIDE, SIDE, dtype=torch.bool)
    assert imd(first, second, nothing) != imd(first, second, nothing)
    assert imd(first, second, all_of_it, nothing) != imd(first, second, all_of_it, nothing)


def test_the_matrix_holds_the_distance_of_every_variant_of_a_row_to_a_column() -> None:
    variants, masks = [units(3, seed=10), units(3, seed=11)], [spots(3, seed=12), spots(3, seed=13)]
    targets, inside = units(3, seed=14), spots(3, seed=15)
    matrix = imd_matrix(variants, targets, masks, inside)
    assert matrix.shape == (3, 3, 2)
    assert matrix.isnan().nonzero()[:, :2].tolist() == [[i, i] for i in range(3) for _ in range(2)]
    for i, j, v in (~matrix.isnan()).nonzero().tolist():
        assert float(matrix[i, j, v]) == pytest.approx(imd(variants[v][i], targets[j], masks[v][i], inside[j]))


def test_only_the_pairs_asked_for_are_computed() -> None:
    variants, masks = [units(3, seed=16)], [spots(3, seed=17)]
    masks[0][2] = False
    matrix = imd_matrix(variants, variants[0], masks, pairs=[(0, 1), (2, 1)])
    assert (~matrix[..., 0].isnan()).nonzero().tolist() == [[0, 1]]


@pytest.mark.parametrize("elements", [1 << 22, 4 * 9 * SIDE * SIDE])
def test_mutual_neighbours_are_those_of_the_whole_matrix(elements: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(chunks, "ELEMENTS", elements)
    first, second = random(CHANNELS, SIDE, SIDE, seed=18), random(CHANNELS, 9, 10, seed=19)
    found = mutual_distance(first, second)
    assert found == pytest.approx(official_mutual_distance(first, second), abs=1e-6)
    assert found == pytest.approx(mutual_distance(second, first), abs=1e-6)
    assert found == pytest.approx(mutual_distance(first.flip(2), second), abs=1e-6)


def test_features_between_cells_are_not_normalised_again() -> None:
    opposite = torch.tensor([1.0, -1.0]).view(1, 1, 1, 2).expand(1, 1, 2, 2)
    assert resampled(opposite, 4)[0, 0, 0].tolist() == [1.0, 0.5, -0.5, -1.0]


def test_the_smallest_distance_chooses_the_variant() -> None:
    nan = float("nan")
    assert choose(torch.tensor([0.3, 0.2, 0.25])) == 1
    assert choose(torch.tensor([0.2, 0.2])) == 0
    assert choose(torch.tensor([0.3, 0.2, 0.2])) == 1
    assert choose(torch.tensor([0.2, nan, 0.1])) == 2
    assert choose(torch.tensor([nan, 0.2])) == 1
    assert choose(torch.tensor([nan, nan])) == 0
    assert choose(torch.tensor([0.3])) == 0


def test_a_variant_must_gain_more_than_asked() -> None:
    distances = torch.tensor([0.5, 0.375, 0.4], dtype=torch.float64)
    assert choose(distances, 0.25) == 0
    assert choose(distances, 0.24) == 1
    assert choose(torch.tensor([float("nan"), 0.4, 0.3]), 0.5) == 2


def test_the_margin_is_that_over_the_runner_up() -> None:
    nan = float("nan")
    clear = chosen(torch.tensor([0.5, nan, 0.25, 0.375]))
    assert (clear.index, clear.margin) == (2, 0.125)
    kept = chosen(torch.tensor([0.5, 0.375]), 0.5)
    assert (kept.index, kept.margin) == (0, -0.125)
    for alone in ([0.5], [0.5, nan], [nan, nan]):
        assert chosen(torch.tensor(alone)).margin != chosen(torch.tensor(alone)).margin
