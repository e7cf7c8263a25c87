import pytest
import torch
from torch import Tensor
from torch.nn.functional import normalize
from torch.testing import assert_close

from workers.matching import chunks
from workers.matching.upsampled import UpsampledMap, upsampled_cosines


def random(*shape: int, seed: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("held", [1, 500, 1 << 22])
def test_cosines_are_those_of_the_upsampled_features(held: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(chunks, "ELEMENTS", held)
    features, queries = random(7, 5, 6, seed=0), 3 * random(4, 7, seed=1)
    ticks: list[int] = []
    large = UpsampledMap(features, height=33, width=40, tick=lambda: ticks.append(1))
    plain = upsampled_cosines(queries, features, height=33, width=40)
    assert_close(large.cosines(queries), plain, atol=1e-6, rtol=0)
    similarity, index = plain.flatten(1).max(dim=1)
    places, best = large.nearest(queries, tick=lambda: ticks.append(1))
    assert_close(places, torch.stack([index % 40, index // 40], dim=1) + 0.5)
    assert_close(best, similarity)
    assert len(ticks) >= 2


def test_a_pixel_finds_itself() -> None:
    large = UpsampledMap(random(16, 6, 6, seed=2), height=48, width=48)
    points = torch.tensor([[10.5, 20.5], [0.5, 0.5], [47.5, 3.5]])
    places, similarity = large.nearest(large.at(points))
    assert_close(similarity, torch.ones(3))
    assert_close(large.at(places), large.at(points), atol=1e-5, rtol=0)


def test_features_are_read_at_pixel_centres() -> None:
    features = random(3, 4, 5, seed=3)
    own = UpsampledMap(features, height=4, width=5)
    assert_close(own.at(torch.tensor([[2.5, 1.5]]))[0], features[:, 1, 2])
    assert_close(own.lengths, features.norm(dim=0))
    assert_close(
        own.cosines(features[:, 1, 2][None])[0],
        (normalize(features, dim=0) * normalize(features[:, 1, 2], dim=0).view(3, 1, 1)).sum(dim=0),
    )
