"""Distances of variants, and the choice by them."""

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn.functional import normalize

from api_schemas.methods.geo_aware import ImdParams
from workers.geometry.letterbox import Letterbox
from workers.imaging.frames import WorkingFrames
from workers.methods.features import Heartbeat
from workers.methods.geo_aware.choices import PairChoice, as_they_are, choices, measure
from workers.methods.geo_aware.imd import imd, mutual_distance
from workers.methods.geo_aware.inputs import Looks
from workers.methods.geo_aware.variants import VARIANTS
from workers.run_context import JobCanceled, Run, StopSignal

CELLS = 10
COUNT = 3
NAMES = ("id", "flip", "rot90", "flip_rot90")
PLAIN = ImdParams(resolution=CELLS)
NAN = float("nan")


def looks(names: tuple[str, ...] = NAMES, *, inside: Tensor | None = None) -> Looks:
    """Three pictures of random features; those of a variant are those of the next picture, made a little worse."""
    generator = torch.Generator().manual_seed(0)
    plain = torch.randn(COUNT, 6, CELLS, CELLS, generator=generator)
    features = [plain]
    for number in range(1, len(names)):
        noise = torch.randn(COUNT, 6, CELLS, CELLS, generator=generator)
        features.append(plain.roll(-1, dims=0) + 0.1 * number * noise)
    whole = torch.ones(COUNT, CELLS, CELLS, dtype=torch.bool) if inside is None else inside
    frames = WorkingFrames(torch.zeros(COUNT, 3, 40, 40), (Letterbox(40, 40, 40),) * COUNT)
    return Looks(
        frames,
        tuple(VARIANTS[name] for name in names),
        tuple(normalize(maps, dim=1) for maps in features),
        (whole,) * len(names),
    )


def pulse(stop: StopSignal | None = None) -> Heartbeat:
    return Heartbeat(Run(seed=0, device=torch.device("cpu"), stop=stop))


def choose_by(row: list[float], gain: float = 0.0) -> PairChoice:
    """What distances of the four variants of one pair lead to."""
    distances = torch.full((COUNT, COUNT, len(row)), torch.nan)
    distances[0, 1] = torch.tensor(row)
    (found,) = choices(distances, looks(NAMES[: len(row)]), [(0, 1)], gain).values()
    return found


def test_only_pairs_that_are_asked_for_are_measured() -> None:
    given = looks()
    distances = measure(given, PLAIN, [(0, 1), (2, 0)], pulse())
    assert distances.shape == (COUNT, COUNT, len(NAMES))
    measured = ~distances.isnan()
    assert measured.all(dim=-1).nonzero().tolist() == [[0, 1], [2, 0]]
    assert measured.any(dim=-1).sum() == 2
    every = torch.ones(CELLS, CELLS, dtype=torch.bool)
    for variant in range(len(NAMES)):
        expected = imd(given.features[variant][2], given.features[0][0], every, every)
        assert float(distances[2, 0, variant]) == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("mode", ["masked", "mutual"])
def test_the_variant_that_shows_the_target_is_nearest(mode: str) -> None:
    params = ImdParams.model_validate({"mode": mode, "resolution": CELLS})
    distances = measure(looks(), params, [(0, 1), (0, 2)], pulse())
    assert int(distances[0, 1].argmin()) == 1
    assert bool((distances[0, 1].diff()[1:] > 0).all())
    assert float(distances[0, 1, 1]) < 0.5 * float(distances[0, 2].min())


def test_mutual_distances_are_those_of_mutual_neighbours() -> None:
    given = looks()
    distances = measure(given, ImdParams(mode="mutual", resolution=CELLS), [(1, 0)], pulse())
    expected = [mutual_distance(maps[1], given.features[0][0]) for maps in given.features]
    torch.testing.assert_close(distances[1, 0], torch.tensor(expected))
    assert bool(distances[0].isnan().all())


def test_cells_outside_the_object_take_no_part() -> None:
    inside = torch.zeros(COUNT, CELLS, CELLS, dtype=torch.bool)
    inside[:, :, :5] = True
    given = looks(inside=inside)
    changed = [maps.clone() for maps in given.features]
    for maps in changed:
        maps[..., 5:] = torch.rand(maps[..., 5:].shape, generator=torch.Generator().manual_seed(9))
    other = Looks(given.frames, given.variants, tuple(changed), given.inside)
    before, after = (measure(each, PLAIN, [(0, 1)], pulse()) for each in (given, other))
    torch.testing.assert_close(before, after, equal_nan=True)
    whole = measure(looks(), PLAIN, [(0, 1)], pulse())
    assert not torch.allclose(before[0, 1], whole[0, 1])


def test_an_object_without_cells_has_no_distance_and_stays_as_it_is() -> None:
    inside = torch.ones(COUNT, CELLS, CELLS, dtype=torch.bool)
    inside[1] = False
    given = looks(inside=inside)
    pairs = [(0, 1), (1, 0), (0, 2)]
    distances = measure(given, PLAIN, pairs, pulse())
    assert bool(distances[0, 1].isnan().all())
    assert bool(distances[1, 0].isnan().all())
    found = choices(distances, given, pairs, 0.0)
    for pair in pairs[:2]:
        assert (found[pair].best, found[pair].native) == (0, 0)
        assert np.isnan(found[pair].margin)
    assert not np.isnan(found[0, 2].margin)


def test_pictures_are_compared_at_no_more_cells_than_they_have() -> None:
    coarse, fine = (measure(looks(), ImdParams(resolution=side), [(0, 1)], pulse()) for side in (CELLS, 64))
    torch.testing.assert_close(coarse, fine, equal_nan=True)
    coarser = measure(looks(), ImdParams(resolution=8), [(0, 1)], pulse())
    assert not torch.allclose(coarser[0, 1], fine[0, 1])


def test_measuring_can_be_stopped() -> None:
    stop = StopSignal()
    stop.request()
    with pytest.raises(JobCanceled):
        measure(looks(), PLAIN, [(0, 1)], pulse(stop))


@pytest.mark.parametrize(
    ("row", "best", "native", "margin"),
    [
        ([0.5, 0.7, 0.8, 0.9], 0, 0, 0.2),
        ([0.5, 0.3, 0.8, 0.9], 1, 0, 0.2),
        ([0.5, 0.3, 0.4, 0.9], 1, 2, 0.1),
        ([0.5, 0.6, 0.4, 0.9], 2, 2, 0.1),
        ([0.5, 0.6, 0.4, 0.1], 3, 2, 0.3),
        ([0.5, 0.5, 0.5, 0.5], 0, 0, 0.0),
        ([NAN, 0.6, 0.7, 0.8], 1, 2, 0.1),
        ([0.5, NAN, NAN, NAN], 0, 0, NAN),
    ],
)
def test_the_nearest_variant_is_best_and_the_nearest_without_a_mirror_is_native(
    row: list[float], best: int, native: int, margin: float
) -> None:
    found = choose_by(row)
    assert (found.best, found.native) == (best, native)
    assert found.margin == pytest.approx(margin, nan_ok=True)
    assert found.is_mirrored == VARIANTS[NAMES[best]].flip


@pytest.mark.parametrize(
    ("gain", "best", "native"), [(0.0, 1, 2), (0.19, 1, 2), (0.21, 1, 0), (0.39, 1, 0), (0.41, 0, 0)]
)
def test_a_gain_can_be_asked_for_of_both(gain: float, best: int, native: int) -> None:
    found = choose_by([0.5, 0.3, 0.4, 0.9], gain)
    assert (found.best, found.native) == (best, native)


def test_the_best_one_that_is_not_mirrored_is_the_native_one_too() -> None:
    found = choose_by([0.50, 0.46, 0.45, 0.48], 0.05)
    assert (found.best, found.native, found.is_mirrored) == (2, 2, False)


def test_a_picture_alone_has_no_margin() -> None:
    found = choose_by([0.5])
    assert (found.best, found.native, found.is_mirrored) == (0, 0, False)
    assert np.isnan(found.margin)


def test_without_a_choice_all_pictures_stay_as_they_are() -> None:
    found = as_they_are([(0, 1), (2, 1)])
    assert list(found) == [(0, 1), (2, 1)]
    assert {(choice.best, choice.native, choice.is_mirrored) for choice in found.values()} == {(0, 0, False)}
