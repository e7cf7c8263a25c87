"""Geometry-aware keypoints by their own numbers, and as the official code of arXiv 2311.17034 numbers them anew."""

from collections.abc import Sequence

import numpy as np
import pytest

from alignment.geometry_aware import geometry_aware

Groups = list[list[int]]

# Keypoints without rivals are groups of one, in the order of the official tables.
AP10K: Groups = [[0], [1], [2], [3], [4], [5, 8], [6, 9, 12, 15], [7, 10, 13, 16], [11, 14]]
CAR: Groups = [
    [0, 1],
    [2, 3, 6, 7],
    [4, 8],
    [5, 9],
    [10, 13, 20, 23],
    [11, 14, 21, 24],
    [12, 15, 22, 25],
    [16, 17, 26, 27],
    [18, 19, 28, 29],
]


def renumbered(groups: Groups) -> Groups:
    """Number the flattened list 0, 1, 2, … as the official evaluation does, where all keypoints are in use."""
    numbers = iter(range(sum(map(len, groups))))
    return [[next(numbers) for _ in group] for group in groups]


def found(groups: Groups, source: Sequence[int], target: Sequence[int]) -> list[int]:
    numbers = np.arange(sum(map(len, groups)))
    aware = geometry_aware(np.isin(numbers, source), np.isin(numbers, target), groups)
    return [int(number) for number in numbers[aware]]


@pytest.mark.parametrize(
    ("groups", "source", "target", "own", "official"),
    [
        (AP10K, (5, 6, 10, 16), (5, 6, 9, 10, 13), [6, 10], [5, 6, 10]),
        (
            CAR,
            (0, 2, 4, 5, 10, 11, 16, 20),
            (0, 1, 2, 4, 5, 6, 10, 11, 20, 26),
            [0, 2, 10, 20],
            [0, 2, 4, 5, 10, 11],
        ),
    ],
    ids=["ap10k", "car"],
)
def test_own_numbers_and_the_official_ones(
    groups: Groups, source: tuple[int, ...], target: tuple[int, ...], own: list[int], official: list[int]
) -> None:
    assert found(groups, source, target) == own
    assert found(renumbered(groups), source, target) == official


def test_the_official_numbers_move_groups_to_other_keypoints() -> None:
    assert [group for group in renumbered(AP10K) if len(group) > 1] == [
        [5, 6],
        [7, 8, 9, 10],
        [11, 12, 13, 14],
        [15, 16],
    ]
    assert renumbered(CAR)[1] == [2, 3, 4, 5]
