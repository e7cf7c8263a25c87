import pytest
import torch
from torch import Tensor
from torch.nn.functional import normalize

from workers.matching.pseudo_correspondences import pseudo_correspondences, token_mask


def random(*shape: int, seed: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("compat", [False, True])
def test_filters_by_their_definition(compat: bool) -> None:
    first, second = random(60, 4, seed=0), random(50, 4, seed=1)
    first_mask, second_mask = random(60, seed=2) > 0, random(50, seed=3) > 0
    cosine = normalize(first, dim=1) @ normalize(second, dim=1).T
    nearest, home = cosine.argmax(dim=1).tolist(), cosine.argmax(dim=0).tolist()
    voted = {home[b] for b in range(50) if second_mask[b]}
    expected = [
        (a, nearest[a])
        for a in range(60)
        if home[nearest[a]] == a and first_mask[a] and (a in voted if compat else second_mask[nearest[a]])
    ]
    found = pseudo_correspondences(first, second, first_mask=first_mask, second_mask=second_mask, compat=compat)
    assert list(zip(found.first.tolist(), found.second.tolist(), strict=True)) == expected
    assert 0 < len(expected) < len(pseudo_correspondences(first, second).first)


def test_tokens_mostly_on_the_object_count() -> None:
    mask = torch.zeros(64, 64)
    mask[:, :28] = 1
    inside = token_mask(mask, rows=4, columns=4).view(4, 4)
    assert inside.tolist() == [[True, True, False, False]] * 4


def test_the_official_threshold_takes_the_faintest_trace() -> None:
    mask = torch.full((64, 64), 0.003)
    mask[:, 32:] = 1.5 / 255
    assert not token_mask(mask, rows=4, columns=4).any()
    inside = token_mask(mask, rows=4, columns=4, compat=True).view(4, 4)
    assert inside[:, 2:].all()
    assert not inside[:, 0].any()
