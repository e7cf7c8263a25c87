"""Keypoint tables as Telling Left from Right (arXiv 2311.17034) has them."""

from itertools import chain

import pytest

from api_schemas.keypoints.tables import named_schema, schema_names

CAT = [1, 0, 3, 2, 5, 4, 7, 6, 8, 10, 9, 12, 11, 13, 14]
AP10K = [1, 0, 2, 3, 4, 8, 9, 10, 5, 6, 7, 14, 15, 16, 11, 12, 13]
TV = [2, 1, 0, 7, 6, 5, 4, 3, 10, 9, 8, 15, 14, 13, 12, 11]
# Number of keypoints, of those that a mirror moves, and of those in groups; counted by hand from the published tables.
COUNTS = {
    "ap10k": (17, 14, 12),
    "spair71k/aeroplane": (25, 18, 18),
    "spair71k/bicycle": (14, 6, 6),
    "spair71k/bird": (17, 12, 8),
    "spair71k/boat": (14, 12, 12),
    "spair71k/bottle": (10, 10, 10),
    "spair71k/bus": (30, 26, 28),
    "spair71k/car": (30, 26, 30),
    "spair71k/cat": (15, 12, 6),
    "spair71k/chair": (14, 14, 14),
    "spair71k/cow": (21, 18, 12),
    "spair71k/dog": (16, 10, 6),
    "spair71k/horse": (20, 16, 10),
    "spair71k/motorbike": (13, 4, 4),
    "spair71k/person": (20, 16, 12),
    "spair71k/pottedplant": (9, 6, 8),
    "spair71k/sheep": (21, 18, 12),
    "spair71k/train": (18, 18, 18),
    "spair71k/tvmonitor": (16, 12, 16),
}


@pytest.mark.parametrize(("name", "permutation"), [("spair71k/cat", CAT), ("ap10k", AP10K), ("spair71k/tvmonitor", TV)])
def test_mirrored_keypoints_are_the_published_ones(name: str, permutation: list[int]) -> None:
    assert named_schema(name).permutation == permutation


def test_all_tables_are_there() -> None:
    assert schema_names() == list(COUNTS)


@pytest.mark.parametrize(("name", "counts"), COUNTS.items())
def test_tables_are_of_the_published_size(name: str, counts: tuple[int, int, int]) -> None:
    schema = named_schema(name)
    moved = [index for index, becomes in enumerate(schema.permutation or []) if index != becomes]
    grouped = list(chain.from_iterable(schema.groups or []))
    assert (len(schema.names), len(moved), len(grouped)) == counts
    assert len(set(schema.names)) == len(schema.names)


@pytest.mark.parametrize("name", COUNTS)
def test_mirroring_twice_gives_every_keypoint_back_and_keeps_it_in_its_group(name: str) -> None:
    schema = named_schema(name)
    permutation, groups = schema.permutation, schema.groups
    assert permutation is not None
    assert groups is not None
    assert [permutation[becomes] for becomes in permutation] == list(range(len(schema.names)))
    assert len(set(chain.from_iterable(groups))) == sum(map(len, groups))
    for group in groups:
        assert {permutation[keypoint] for keypoint in group} == set(group)


@pytest.mark.parametrize(
    ("name", "groups"),
    [
        ("ap10k", [[5, 8], [6, 9, 12, 15], [7, 10, 13, 16], [11, 14]]),
        ("spair71k/pottedplant", [[0, 1, 2, 3], [4, 5], [6, 8]]),
        ("spair71k/tvmonitor", [[0, 2, 4, 6], [1, 3, 5, 7], [8, 10, 12, 14], [9, 11, 13, 15]]),
        (
            "spair71k/bus",
            [
                [0, 1], [2, 3, 5, 6], [4, 7], [10, 13, 20, 23], [11, 14, 21, 24], [12, 15, 22, 25], [16, 17, 26, 27],
                [18, 19, 28, 29],
            ],
        ),
        (
            "spair71k/car",
            [
                [0, 1], [2, 3, 6, 7], [4, 8], [5, 9], [10, 13, 20, 23], [11, 14, 21, 24], [12, 15, 22, 25],
                [16, 17, 26, 27], [18, 19, 28, 29],
            ],
        ),
    ],
)  # fmt: skip
def test_groups_are_of_raw_ids(name: str, groups: list[list[int]]) -> None:
    """The five tables whose groups the official scoring within training renumbers wrongly."""
    assert named_schema(name).groups == groups


@pytest.mark.parametrize(
    ("name", "keypoint", "called"),
    [
        ("ap10k", 13, "left back paw"),
        ("spair71k/cat", 2, "right ear"),
        ("spair71k/cat", 3, "left ear"),
        ("spair71k/bottle", 0, "left cap"),
        ("spair71k/train", 17, "right front light"),
        ("spair71k/bus", 10, "right front fender a"),
        ("spair71k/bicycle", 13, "point 13"),
    ],
)
def test_keypoints_are_called_after_part_and_side(name: str, keypoint: int, called: str) -> None:
    assert named_schema(name).names[keypoint] == called
