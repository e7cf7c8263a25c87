from typing import Any

import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

from tests.workers.methods.sd_correspondence.bed import TURNED, UPRIGHT, Placed, options, scene
from workers.backbones.base import no_tick
from workers.evaluation.attention_bed import CanonicalReader
from workers.methods.sd_correspondence.crops import Window
from workers.methods.sd_correspondence.options import Options
from workers.methods.sd_correspondence.passes import Passes
from workers.methods.sd_correspondence.reader import generator
from workers.methods.sd_correspondence.readout import Found, joined, located
from workers.methods.sd_correspondence.scene import FixedFeatures, LiveFeatures, View, drawn_noise
from workers.methods.sd_correspondence.transfer import Target, read

READER = CanonicalReader()
CHOICES = [options(read_crops=6), options("official", read_crops=6), options("cached", read_crops=6)]


def embeddings(groups: int = 2, rounds: int = 2) -> Tensor:
    source = torch.Generator().manual_seed(0)
    return torch.randn(groups, rounds, *READER.embedding_shape, generator=source)


def target(chosen: Options, placed: Placed = TURNED, *, seed: int = 0) -> Target:
    seen = scene(READER, chosen, placed)
    features: Any = LiveFeatures(seen, chosen.read_timestep)
    if chosen.fixed_features:

        def noise_of(window: Window, shape: tuple[int, ...]) -> Tensor:
            return drawn_noise(chosen.noise, shape, generator(seed, window))

        context = torch.zeros(1, *READER.embedding_shape)
        features = FixedFeatures(seen, chosen.read_timestep, context, noise_of)
    inside = torch.ones(chosen.size, chosen.size, dtype=torch.bool)
    return Target(seen, features, inside, (seed,), seen.crops.bank(chosen.read_crops, generator(seed, "windows")))


def reading(place: Target, given: Tensor, chosen: Options, *, tokens: int = 1, items: int = 64) -> list[list[Found]]:
    return list(read(place, given, tokens, READER, chosen, Passes(READER, print, items=items), tick=no_tick))


def figures(found: list[list[Found]]) -> Tensor:
    return torch.tensor([[(one.x, one.y, one.peak, one.margin, one.round_spread) for one in row] for row in found])


def heats(found: list[list[Found]]) -> Tensor:
    return torch.stack([one.heat for row in found for one in row])


@pytest.mark.parametrize("chosen", CHOICES)
def test_reading_twice_gives_the_same(chosen: Options) -> None:
    place = target(chosen)
    first, again = reading(place, embeddings(), chosen), reading(place, embeddings(), chosen)
    anew = reading(target(chosen), embeddings(), chosen)
    for other in (again, anew):
        assert torch.equal(figures(first), figures(other))
        assert torch.equal(heats(first), heats(other))
    elsewhere = reading(target(chosen, seed=1), embeddings(), chosen)
    assert not torch.equal(heats(first), heats(elsewhere))


@pytest.mark.parametrize("chosen", CHOICES)
def test_a_group_is_read_alike_among_others(chosen: Options) -> None:
    together = reading(target(chosen), embeddings(), chosen, tokens=2)
    for index in range(2):
        alone = reading(target(chosen), embeddings()[[index]], chosen, tokens=2)
        assert_close(heats([together[index]]), heats(alone), rtol=1e-5, atol=1e-7)
    assert [len(row) for row in together] == [2, 2]


@pytest.mark.parametrize("items", [1, 3])
def test_the_size_of_passes_does_not_matter(items: int) -> None:
    chosen = CHOICES[0]
    assert_close(
        heats(reading(target(chosen), embeddings(), chosen, items=items)),
        heats(reading(target(chosen), embeddings(), chosen)),
        rtol=1e-5,
        atol=1e-7,
    )


def test_shared_crops_are_averaged_as_they_lie() -> None:
    chosen, place = CHOICES[0], target(CHOICES[0])
    given = embeddings(1, 2)
    source = generator(0, "reading")
    views = [View(window, torch.rand(4, 32, 32, generator=source)) for window in place.windows]
    maps = [
        READER.attend(place.features([view], given[0], torch.zeros(2, dtype=torch.long)), given[0], 1) for view in views
    ]
    whole = joined([torch.stack(layer)[:, :, 0] for layer in zip(*maps, strict=True)], place.windows, place.scene.crops)
    expected = located(whole, place.inside, sigma=chosen.sigma, fusion=chosen.fusion)
    ((found,),) = reading(place, given, chosen)
    assert (found.x, found.y) == (expected.x, expected.y)
    assert_close(found.heat, expected.heat, rtol=1e-5, atol=1e-7)


def adaptive_windows(given: Tensor, *, percent: float = 60.0, crops: int = 12) -> list[Window]:
    chosen = options("official", read_crops=crops, crop_percent=percent)
    seen = scene(READER, chosen, UPRIGHT)
    live, windows = LiveFeatures(seen, chosen.read_timestep), []

    def watched(views: list[View], contexts: Tensor, owners: Tensor) -> list[Tensor]:
        windows.extend(view.window for view in views)
        return live(views, contexts, owners)

    inside = torch.ones(256, 256, dtype=torch.bool)
    reading(Target(seen, watched, inside, (0,), []), given, chosen)
    return windows


def test_adaptive_crops_begin_in_the_corners_and_then_show_the_highest_place() -> None:
    given = embeddings(1, 1)
    windows = adaptive_windows(given)
    crops = options("official").size, 153
    free = crops[0] - crops[1]
    assert windows[:4] == [(0, 0), (0, free), (free, 0), (free, free)]
    assert len(windows) == 12
    assert len(set(windows[4:])) > 1
    chosen = options("official", read_crops=4, crop_percent=60.0)
    ((corners,),) = reading(target(chosen, UPRIGHT), given, chosen)
    top = corners.heat.argmax()
    x, y = float(top % 64) * 4 + 2, float(top // 64) * 4 + 2
    left, upper = windows[4]
    assert left - 4 <= x <= left + crops[1] + 4
    assert upper - 4 <= y <= upper + crops[1] + 4


def test_rounds_are_read_under_different_noise_and_queries_under_the_same() -> None:
    one = embeddings(1, 1)
    both = adaptive_windows(one.expand(1, 2, -1, -1))
    assert both[:4] == both[12:16]
    assert both[4:12] != both[16:]
    groups = adaptive_windows(one.expand(2, 1, -1, -1))
    assert groups[:12] == groups[12:]


def test_fixed_features_are_computed_once_a_crop() -> None:
    chosen, asked = CHOICES[2], []

    class Counting(CanonicalReader):
        def features(self, noisy: Tensor, *given: Any, **named: Any) -> list[Tensor]:
            asked.append(len(noisy))
            return super().features(noisy, *given, **named)

    reader = Counting()
    seen = scene(reader, chosen)
    fixed = FixedFeatures(seen, 40, torch.zeros(1, *reader.embedding_shape), lambda _, shape: torch.zeros(shape))
    views = [View(window, torch.ones(4, 32, 32)) for window in ((0, 0), (3, 4), (0, 0))]
    contexts = torch.zeros(4, *reader.embedding_shape)
    found = fixed(views, contexts, torch.tensor([0, 1, 2, 1]))
    assert asked == [1, 1]
    assert [len(layer) for layer in found] == [4] * 4
    for layer in found:
        assert torch.equal(layer[0], layer[2])
        assert torch.equal(layer[1], layer[3])
        assert not torch.equal(layer[0], layer[1])
    (single, *_) = fixed(views[:1], contexts, torch.zeros(4, dtype=torch.long))
    assert torch.equal(single[0], found[0][0])
    assert asked == [1, 1]


def test_every_crop_is_encoded_once() -> None:
    seen = scene(READER, options())
    assert seen.encode([(0, 0), (1, 2), (0, 0)]) == 2
    assert seen.encode([(1, 2), (3, 4)]) == 1
