import numpy as np
import pytest
import torch

from workers.methods.sd_correspondence.crops import Crops, crops_of

OFFICIAL = 93.16549294381423
SIZES = [(256, OFFICIAL), (512, OFFICIAL), (512, 100.0), (512, 50.0), (320, 50.0), (768, 71.3)]
ALL = [crops_of(size, percent) for size, percent in SIZES]


def random(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize("crops", ALL)
def test_drawn_crops_lie_in_the_square_and_show_the_point(crops: Crops) -> None:
    source = random()
    for place in np.random.default_rng(0).uniform(0, crops.size, (40, 2)).tolist():
        window = crops.draw((place[0], place[1]), source)
        for start, axis in zip(window, place, strict=True):
            assert 0 <= start <= crops.free
            assert start - 1 <= axis <= start + crops.side + 1
            far_from_borders = crops.margin < axis < crops.size - crops.margin
            if far_from_borders:
                assert start + crops.margin <= axis + 1
                assert axis <= start + crops.side - crops.margin + 1


def test_every_allowed_crop_is_drawn_and_no_other() -> None:
    crops = crops_of(256, OFFICIAL)
    place = (40.0, 128.0)
    first, last = crops.starts(place[0])
    assert 0 <= first < last < crops.free
    source = random()
    drawn = [crops.draw(place, source) for _ in range(300)]
    assert {x for x, _ in drawn} == set(range(first, last + 1))
    assert {y for _, y in drawn} == set(range(crops.free + 1))


@pytest.mark.parametrize("crops", ALL)
def test_the_four_outermost_crops_cover_the_picture(crops: Crops) -> None:
    seen = np.zeros((crops.size, crops.size), dtype=bool)
    for x, y in crops.corners():
        seen[y : y + crops.side, x : x + crops.side] = True
    assert seen.all()
    assert len(crops.corners()) == (1 if crops.free == 0 else 4)


@pytest.mark.parametrize("crops", ALL)
@pytest.mark.parametrize("count", [1, 4, 20, 64])
def test_a_bank_begins_with_the_corners_and_has_no_crop_twice(crops: Crops, count: int) -> None:
    bank = crops.bank(count, random())
    assert len(bank) == min(count, 64 if crops.free else 1)
    assert len(set(bank)) == len(bank)
    assert bank[:4] == crops.corners()[:count]
    assert all(0 <= start <= crops.free for window in bank for start in window)
    assert bank == crops.bank(count, random())


def test_banks_of_other_seeds_differ_in_all_but_the_corners() -> None:
    crops = crops_of(512, OFFICIAL)
    one, other = (crops.bank(20, random(seed)) for seed in (0, 1))
    assert one[:4] == other[:4]
    assert set(one) != set(other)
    assert set(crops.bank(64, random())) == {(x, y) for x in range(0, 36, 5) for y in range(0, 36, 5)}


@pytest.mark.parametrize("crops", ALL)
@pytest.mark.parametrize("count", [1, 4, 20, 64])
def test_every_point_has_crops_of_the_bank(crops: Crops, count: int) -> None:
    bank = crops.bank(count, random())
    for x in np.linspace(0, crops.size, 9).tolist():
        for y in np.linspace(0, crops.size, 9).tolist():
            suited = crops.for_point((x, y), bank)
            assert suited
            assert set(suited) <= set(bank)


def test_a_point_gets_all_crops_that_are_allowed_for_it() -> None:
    crops = crops_of(512, OFFICIAL)
    bank = crops.bank(64, random())
    assert crops.for_point((256, 256), bank) == bank
    assert crops.for_point((0, 512), bank) == [(0, 35)]
    assert {x for x, _ in crops.for_point((10, 256), bank)} == {0}
    near = crops.for_point((90.5, 420.0), bank)
    assert {x for x, _ in near} == {0, 5, 10, 15}
    assert {y for _, y in near} == {15, 20, 25, 30, 35}


def test_where_no_crop_of_the_bank_is_allowed_the_nearest_are_taken() -> None:
    crops = crops_of(512, 50.0)
    bank = crops.corners()
    assert crops.for_point((300, 10), bank) == [(256, 0)]
    assert crops.for_point((100, 10), bank) == [(0, 0)]
