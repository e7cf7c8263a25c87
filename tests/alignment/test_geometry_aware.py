import numpy as np
import pytest

from alignment.azimuth import AZIMUTH_GAPS, azimuth_gap
from alignment.geometry_aware import geometry_aware

EARS, PAWS = (0, 1), (2, 3, 4, 5)
NOSE = 6
COUNT = 7


def aware(source: set[int], target: set[int], groups: tuple[tuple[int, ...], ...] = (EARS, PAWS)) -> set[int]:
    seen = [np.isin(np.arange(COUNT), list(visible)) for visible in (source, target)]
    found = geometry_aware(seen[0], seen[1], groups)
    assert found.shape == (COUNT,)
    return set(np.flatnonzero(found).tolist())


def test_one_visible_member_in_the_target_leaves_no_choice() -> None:
    assert aware({0, 1, 2, 3}, {0, 2, 6}) == set()


def test_the_rival_counts_in_the_target_and_not_in_the_source() -> None:
    assert aware({0}, {0, 1}) == {0}
    assert aware({0, 1}, {0}) == set()


def test_a_keypoint_must_be_visible_in_both_images() -> None:
    assert aware({2, 3}, {3, 4}) == {3}
    assert aware({2}, {3, 4}) == set()


def test_keypoints_without_group_never_count() -> None:
    everything = set(range(COUNT))
    assert aware(everything, everything) == everything - {NOSE}
    assert aware(everything, everything, groups=()) == set()


def test_overlapping_groups_add_up() -> None:
    assert aware({0, 1, 2}, {0, 1}, groups=((0, 1), (1, 2))) == {0, 1}


@pytest.mark.parametrize(
    ("a", "b", "gap"), [(0, 0, 0), (0, 1, 1), (7, 0, 1), (1, 6, 3), (6, 1, 3), (0, 4, 4), (2, 6, 4), (7, 2, 3)]
)
def test_azimuths_are_compared_the_short_way_round(a: int, b: int, gap: int) -> None:
    assert azimuth_gap(a, b) == gap


def test_every_gap_of_eight_azimuths_lies_between_none_and_half_a_turn() -> None:
    assert {azimuth_gap(a, b) for a in range(8) for b in range(8)} == set(range(AZIMUTH_GAPS))
    assert {azimuth_gap(a, b, bins=5) for a in range(5) for b in range(5)} == {0, 1, 2}
