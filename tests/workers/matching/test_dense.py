from dataclasses import replace

import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

from workers.matching import chunks
from workers.matching.dense import MUTUAL_CELLS, MatchOptions, match_maps
from workers.matching.soft_argmax import Softness

WINDOW = Softness(temperature=0.005, window=3)
MATCHERS = [MatchOptions(), MatchOptions(softness=Softness(temperature=0.005)), MatchOptions(softness=WINDOW)]


def features(height: int, width: int, *, seed: int = 0, channels: int = 16) -> Tensor:
    return torch.randn(channels, height, width, generator=torch.Generator().manual_seed(seed))


def waves(x: Tensor, y: Tensor) -> Tensor:
    k = torch.arange(24.0).view(-1, 1, 1)
    return torch.sin(x * torch.cos(1.3 * k) * 3 + y * torch.sin(2.1 * k) * 3 + k)


def test_map_to_itself_is_the_identity_and_sure() -> None:
    maps = features(24, 32, channels=64)
    there, back = match_maps(maps, maps, MatchOptions(subpixel=False))
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
    for options in (MatchOptions(), MatchOptions(subpixel=False)):
        there, _ = match_maps(first, second, options)
        own = (torch.stack(torch.meshgrid(torch.arange(24), torch.arange(24), indexing="xy"), dim=-1) + 0.5) / 24
        errors.append((there.points - own - truth)[3:-3, 3:-3].norm(dim=-1).mean())
    assert errors[0] < 0.25 * errors[1]


@pytest.mark.parametrize("options", MATCHERS)
def test_maps_may_differ_in_size(options: MatchOptions) -> None:
    there, back = match_maps(features(9, 20), features(14, 11, seed=4), options)
    assert there.points.shape == (9, 20, 2)
    assert back.points.shape == (14, 11, 2)
    assert there.points.min() >= 0
    assert there.points.max() <= 1


@pytest.mark.parametrize("options", MATCHERS)
def test_every_matcher_finds_a_shift(options: MatchOptions) -> None:
    y, x = torch.meshgrid(torch.linspace(-1, 1, 24), torch.linspace(-1, 1, 24), indexing="ij")
    there, back = match_maps(waves(x, y), waves(x + 4 / 23, y), options)
    own = (torch.stack(torch.meshgrid(torch.arange(24), torch.arange(24), indexing="xy"), dim=-1) + 0.5) / 24
    shift = torch.tensor([2 / 24, 0.0])
    assert_close((there.points - own + shift)[4:-4, 4:-4], torch.zeros(16, 16, 2), atol=0.01, rtol=0)
    assert_close((back.points - own - shift)[4:-4, 4:-4], torch.zeros(16, 16, 2), atol=0.01, rtol=0)
    assert there.confidence[4:-4, 4:-4].min() > 0.8


@pytest.mark.parametrize("options", MATCHERS)
def test_masks_leave_cells_out_on_both_sides(options: MatchOptions) -> None:
    generator = torch.Generator().manual_seed(7)
    first, second = features(12, 15), features(13, 11, seed=5)
    first_mask, second_mask = torch.zeros(12, 15, dtype=torch.bool), torch.zeros(13, 11, dtype=torch.bool)
    first_mask[3:9, 4:12], second_mask[2:10, 1:8] = True, True
    there, back = match_maps(first, second, options, first_mask=first_mask, second_mask=second_mask)
    cropped, cropped_back = match_maps(first[:, 3:9, 4:12], second[:, 2:10, 1:8], replace(options, subpixel=False))
    assert there.points[~first_mask].isnan().all()
    assert (there.confidence[~first_mask] == 0).all()
    assert back.points[~second_mask].isnan().all()
    if options.softness is None or options.softness.window == 0:
        cells = there.points[3:9, 4:12] * torch.tensor([11, 13]) - torch.tensor([1, 2])
        assert (cells - cropped.points * torch.tensor([7, 8])).abs().max() <= 0.5 + 1e-5
        home = back.points[2:10, 1:8] * torch.tensor([15, 12]) - torch.tensor([4, 3])
        assert (home - cropped_back.points * torch.tensor([8, 6])).abs().max() <= 0.5 + 1e-5
    noisy = torch.where(second_mask, second, torch.randn(second.shape, generator=generator))
    again, _ = match_maps(
        first, noisy, replace(options, subpixel=False), first_mask=first_mask, second_mask=second_mask
    )
    plain, _ = match_maps(
        first, second, replace(options, subpixel=False), first_mask=first_mask, second_mask=second_mask
    )
    assert_close(again.points, plain.points, equal_nan=True)


def test_an_empty_mask_matches_nothing() -> None:
    nothing = torch.zeros(6, 5, dtype=torch.bool)
    for found in match_maps(features(4, 3), features(6, 5), second_mask=nothing):
        assert found.points.isnan().all()
        assert (found.confidence == 0).all()
    assert found.points.shape == (6, 5, 2)


def test_mutual_only_keeps_what_comes_back() -> None:
    first, second = features(12, 15), features(13, 11, seed=5)
    every, every_back = match_maps(first, second, MatchOptions(subpixel=False))
    kept, _ = match_maps(first, second, MatchOptions(subpixel=False, mutual_only=True))
    column, row = (every.points * torch.tensor([11, 13]) - 0.5).round().long().unbind(dim=-1)
    home = every_back.points[row, column] * torch.tensor([15, 12]) - 0.5
    own = torch.stack(torch.meshgrid(torch.arange(15.0), torch.arange(12.0), indexing="xy"), dim=-1)
    returns = (home - own).norm(dim=-1) <= MUTUAL_CELLS + 1e-4
    assert 0 < returns.sum() < returns.numel()
    assert_close(kept.points[returns], every.points[returns])
    assert_close(kept.confidence[returns], every.confidence[returns])
    assert kept.points[~returns].isnan().all()
    assert (kept.confidence[~returns] == 0).all()


def test_a_smaller_ratio_keeps_less() -> None:
    first, second = features(16, 16), features(16, 16, seed=6)
    shares = []
    for ratio in (None, 1.0, 0.8, 0.5):
        there, _ = match_maps(first, second, MatchOptions(ratio=ratio))
        found = there.points.isfinite().all(dim=-1)
        assert (there.confidence[~found] == 0).all()
        shares.append(float(found.float().mean()))
    assert shares[0] == 1
    assert shares[1] > shares[2] > shares[3]


@pytest.mark.parametrize("options", MATCHERS)
def test_small_chunks_change_nothing(options: MatchOptions, monkeypatch: pytest.MonkeyPatch) -> None:
    first, second = features(12, 15), features(13, 11, seed=5)
    whole, _ = match_maps(first, second, options)
    monkeypatch.setattr(chunks, "ELEMENTS", 1000)
    ticks: list[int] = []
    chunked, _ = match_maps(first, second, options, tick=lambda: ticks.append(1))
    assert_close(chunked.points, whole.points)
    assert_close(chunked.confidence, whole.confidence)
    assert len(ticks) > 25
