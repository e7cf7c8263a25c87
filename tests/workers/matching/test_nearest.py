import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.nn.functional import normalize

from workers.matching import chunks
from workers.matching.nearest import match, match_brute_force, nearest_both_ways, nearest_brute_force
from workers.matching.parts import grid_parts


def random(*shape: int, seed: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def units(count: int, *, seed: int) -> Tensor:
    return normalize(random(count, 6, seed=seed), dim=1)


@settings(deadline=None, max_examples=40)
@given(st.integers(1, 40), st.integers(1, 40), st.integers(0, 10_000), st.sampled_from([1, 64, 1 << 22]))
def test_chunks_give_what_the_whole_matrix_gives(rows: int, columns: int, seed: int, held: int) -> None:
    first, second = random(rows, 6, seed=seed), random(columns, 6, seed=seed + 1)
    masks = {
        "first_mask": random(rows, seed=seed + 2) > -0.5,
        "second_mask": random(columns, seed=seed + 3) > -0.5,
    }
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(chunks, "ELEMENTS", held)
        chunked = match(first, second, **masks)
    plain = match_brute_force(first, second, **masks)
    assert (chunked.index == plain.index).all()
    assert (chunked.back == plain.back).all()
    torch.testing.assert_close(chunked.similarity, plain.similarity)


@settings(deadline=None, max_examples=25)
@given(*[st.integers(1, 20)] * 4, st.integers(0, 10_000), st.sampled_from([500, 1 << 22]))
def test_nearest_and_rivals_are_those_of_the_whole_matrix(
    height: int, width: int, rows: int, columns: int, seed: int, held: int
) -> None:
    first, second = units(height * width, seed=seed), units(rows * columns, seed=seed + 1)
    first_parts = grid_parts(height, width, device=first.device)
    second_parts = grid_parts(rows, columns, device=second.device)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(chunks, "ELEMENTS", held)
        there, back = nearest_both_ways(first, second, first_parts=first_parts, second_parts=second_parts)
    for found, plain in (
        (there, nearest_brute_force(first, second, second_parts)),
        (back, nearest_brute_force(second, first, first_parts)),
    ):
        assert (found.index == plain.index).all()
        torch.testing.assert_close(found.similarity, plain.similarity)
        torch.testing.assert_close(found.rival, plain.rival)


def test_rival_lies_in_another_part_of_the_map() -> None:
    second = torch.zeros(16, 16, 4)
    second[..., 0] = -1
    second[2, 2] = torch.tensor([0.0, 1, 0, 0])
    second[2, 3] = torch.tensor([0.0, 0.99, 0.14, 0])
    second[12, 12] = torch.tensor([0.0, 0.6, 0.8, 0])
    parts = grid_parts(16, 16, device=second.device)
    found, _ = nearest_both_ways(second[2, 2][None], normalize(second.reshape(-1, 4), dim=1), second_parts=parts)
    assert int(found.index[0]) == 2 * 16 + 2
    assert float(found.rival[0]) == pytest.approx(0.6, abs=1e-4)


def test_the_first_of_equals_wins() -> None:
    twice = torch.cat([torch.eye(4), torch.eye(4)]).repeat(100, 1)
    there, back = nearest_both_ways(torch.eye(4), twice)
    assert there.index.tolist() == [0, 1, 2, 3]
    assert back.index.tolist() == [0, 1, 2, 3] * 200


def test_every_chunk_ticks_and_none_is_larger_than_allowed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(chunks, "ELEMENTS", 30 * 7)
    ticks: list[int] = []
    nearest_both_ways(units(50, seed=0), units(30, seed=1), tick=lambda: ticks.append(1))
    assert len(ticks) >= 50 // 7


def test_a_permutation_is_found_both_ways() -> None:
    first = random(30, 8, seed=0)
    order = torch.randperm(30, generator=torch.Generator().manual_seed(1))
    matches = match(first, 3 * first[order])
    assert (order[matches.index] == torch.arange(30)).all()
    assert matches.mutual.all()
    torch.testing.assert_close(matches.similarity, torch.ones(30))


def test_nothing_to_match_gives_no_matches() -> None:
    matches = match(random(5, 3, seed=0), random(4, 3, seed=1), second_mask=torch.zeros(4, dtype=torch.bool))
    assert (matches.index == -1).all()
    assert (matches.similarity == -1).all()
    assert not matches.mutual.any()
