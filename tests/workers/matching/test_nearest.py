import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

import workers.matching.nearest as nearest
from workers.matching.nearest import Matches, confidence, match, match_brute_force, refine_matches


def random(*shape: int, seed: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


@settings(deadline=None, max_examples=40)
@given(st.integers(1, 40), st.integers(1, 40), st.integers(0, 10_000), st.sampled_from([1, 64, 1 << 22]))
def test_blocks_give_what_the_whole_matrix_gives(rows: int, columns: int, seed: int, block: int) -> None:
    first, second = random(rows, 6, seed=seed), random(columns, 6, seed=seed + 1)
    masks = {
        "first_mask": random(rows, seed=seed + 2) > -0.5,
        "second_mask": random(columns, seed=seed + 3) > -0.5,
    }
    normal, nearest._BLOCK_ELEMENTS = nearest._BLOCK_ELEMENTS, block
    try:
        blocked = match(first, second, **masks)
    finally:
        nearest._BLOCK_ELEMENTS = normal
    plain = match_brute_force(first, second, **masks)
    assert (blocked.index == plain.index).all()
    assert (blocked.back == plain.back).all()
    torch.testing.assert_close(blocked.similarity, plain.similarity)


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
    assert not matches.mutual.any()
    assert (confidence(matches, width=5) == 0).all()


def test_confidence_falls_with_the_return_distance() -> None:
    matches = Matches(
        index=torch.tensor([3, 3, 3, 3, -1, 3]),
        similarity=torch.tensor([0.8, 0.8, 0.8, -0.5, -1.0, 0.8]),
        back=torch.tensor([0, 0, 0, 3, -1, 0]),
    )
    trust = confidence(matches, width=3)
    assert trust[0] == torch.tensor(0.8)
    assert trust[0] > trust[1] > trust[2] > trust[5] > 0
    assert (trust[3:5] == 0).all()


def test_refinement_finds_the_place_between_cells() -> None:
    y, x = torch.meshgrid(torch.arange(12.0), torch.arange(12.0), indexing="ij")
    waves = [torch.cos(w * x + v * y) for w, v in ((0.5, 0.1), (0.1, 0.5), (0.3, -0.3))]
    waves += [torch.sin(w * x + v * y) for w, v in ((0.5, 0.1), (0.1, 0.5), (0.3, -0.3))]
    place = torch.tensor([5.3, 6.8])
    angle = [w * place[0] + v * place[1] for w, v in ((0.5, 0.1), (0.1, 0.5), (0.3, -0.3))]
    descriptor = torch.stack([a.cos() for a in angle] + [a.sin() for a in angle]).unsqueeze(0)
    found = refine_matches(descriptor, torch.stack(waves), torch.tensor([7 * 12 + 5]))
    torch.testing.assert_close(found[0], place, atol=0.05, rtol=0)
