import pytest
import torch
from torch import Tensor
from torch.nn.functional import normalize
from torch.testing import assert_close

from workers.matching.dense import match_maps, nearest_with_rival


def features(height: int, width: int, *, seed: int = 0, channels: int = 16) -> Tensor:
    return torch.randn(channels, height, width, generator=torch.Generator().manual_seed(seed))


def waves(x: Tensor, y: Tensor) -> Tensor:
    k = torch.arange(24.0).view(-1, 1, 1)
    return torch.sin(x * torch.cos(1.3 * k) * 3 + y * torch.sin(2.1 * k) * 3 + k)


def test_nearest_agrees_with_the_whole_matrix() -> None:
    first, second = (normalize(features(13, 17, seed=s).flatten(1).T, dim=1) for s in (1, 2))
    ticks: list[int] = []
    found = nearest_with_rival(first, second, width=17, tick=lambda: ticks.append(1))
    cosine = first @ second.T
    assert_close(found.index, cosine.argmax(dim=1))
    assert_close(found.similarity, cosine.max(dim=1).values)
    assert ticks


def test_rival_lies_in_another_part_of_the_map() -> None:
    second = torch.zeros(16, 16, 4)
    second[..., 0] = -1
    second[2, 2] = torch.tensor([0.0, 1, 0, 0])
    second[2, 3] = torch.tensor([0.0, 0.99, 0.14, 0])
    second[12, 12] = torch.tensor([0.0, 0.6, 0.8, 0])
    found = nearest_with_rival(second[2, 2][None], normalize(second.reshape(-1, 4), dim=1), width=16)
    assert int(found.index[0]) == 2 * 16 + 2
    assert float(found.rival[0]) == pytest.approx(0.6, abs=1e-4)


def test_map_to_itself_is_the_identity_and_sure() -> None:
    maps = features(24, 32, channels=64)
    there, back = match_maps(maps, maps, subpixel=False)
    x = (torch.arange(32) + 0.5) / 32
    assert_close(there.points[..., 0], x.expand(24, 32))
    assert_close(there.points, back.points)
    assert there.confidence.min() > 0.9


def test_two_equal_places_halve_the_confidence() -> None:
    one = features(16, 16, channels=64)
    twice = torch.cat([one, one], dim=2)
    there, _ = match_maps(one, twice)
    assert float(there.confidence.max()) <= 0.5 + 1e-4


def test_subpixel_places_beat_whole_cells() -> None:
    y, x = torch.meshgrid(torch.linspace(-1, 1, 24), torch.linspace(-1, 1, 24), indexing="ij")
    cell = 2 / 23
    first, second = waves(x, y), waves(x + 0.3 * cell, y - 0.4 * cell)
    truth = torch.tensor([-0.3, 0.4]) / 24
    errors = []
    for subpixel in (True, False):
        there, _ = match_maps(first, second, subpixel=subpixel)
        own = (torch.stack(torch.meshgrid(torch.arange(24), torch.arange(24), indexing="xy"), dim=-1) + 0.5) / 24
        errors.append((there.points - own - truth)[3:-3, 3:-3].norm(dim=-1).mean())
    assert errors[0] < 0.25 * errors[1]


def test_maps_may_differ_in_size() -> None:
    there, back = match_maps(features(9, 20), features(14, 11, seed=4))
    assert there.points.shape == (9, 20, 2)
    assert back.points.shape == (14, 11, 2)
    assert there.points.min() >= 0
    assert there.points.max() <= 1
