"""Names of keypoints, and what they tell."""

import pytest
from pydantic import ValidationError

from api_schemas.keypoints.inference import completed
from api_schemas.keypoints.names import read_name
from api_schemas.keypoints.schema import KeypointSchema
from api_schemas.keypoints.tables import is_ap10k, named_schema, schema_names

PERSON = [
    "nose", "left_eye", "right_eye", "left_ear", "right_ear", "left_shoulder", "right_shoulder", "left_elbow",
    "right_elbow", "left_wrist", "right_wrist", "left_hip", "right_hip", "left_knee", "right_knee", "left_ankle",
    "right_ankle",
]  # fmt: skip
AP10K_SPELT_OTHERWISE = [
    "L_Eye", "R_Eye", "Nose", "Neck", "Root_of_tail", "L_Shoulder", "L_Elbow", "L_F_Paw", "R_Shoulder", "R_Elbow",
    "R_F_Paw", "L_Hip", "L_Knee", "L_B_Paw", "R_Hip", "R_Knee", "R_B_Paw",
]  # fmt: skip


def pairs(*names: str) -> list[tuple[int, int]] | None:
    return completed(KeypointSchema(names=[*names])).mirror_pairs


@pytest.mark.parametrize("name", schema_names())
def test_names_of_the_tables_tell_their_mirror_pairs(name: str) -> None:
    table = named_schema(name)
    assert pairs(*table.names) == sorted((min(pair), max(pair)) for pair in table.mirror_pairs or [])


def test_names_of_ap10k_tell_its_pairs_and_what_looks_alike() -> None:
    for names in (named_schema("ap10k").names, AP10K_SPELT_OTHERWISE):
        schema = completed(KeypointSchema(names=names))
        assert schema.mirror_pairs == named_schema("ap10k").mirror_pairs
        assert schema.groups == [[0, 1], [5, 8], [6, 9], [7, 10, 13, 16], [11, 14], [12, 15]]
        assert is_ap10k(names)
    assert not is_ap10k([*AP10K_SPELT_OTHERWISE[:-1], "R_Paw"])
    assert not is_ap10k(AP10K_SPELT_OTHERWISE[:-1])


def test_names_of_coco_persons_tell_their_pairs() -> None:
    expected = [(left, left + 1) for left in range(1, 17, 2)]
    schema = completed(KeypointSchema(names=PERSON))
    assert schema.mirror_pairs == expected
    assert schema.groups == [[*pair] for pair in expected]


@pytest.mark.parametrize(
    "names",
    [
        ("left eye", "right eye"),
        ("LEFT_EYE", "RIGHT_EYE"),
        ("leftEye", "rightEye"),
        ("LeftEye", "RightEye"),
        ("eyeLeft", "eyeRight"),
        ("L_Eye", "R_Eye"),
        ("LEye", "REye"),
        ("l-eye", "r-eye"),
        ("eye_l", "eye_r"),
        ("Eye (L)", "Eye (R)"),
        ("eye.left.outer", "eye.right.outer"),
        ("left_eye_1", "right_eye_1"),
        ("Öhr_l", "Öhr_r"),
        ("left", "right"),
    ],
)
def test_sides_are_read_however_they_are_spelt(names: tuple[str, str]) -> None:
    schema = completed(KeypointSchema(names=["nose", *names]))
    assert schema.mirror_pairs == [(1, 2)]
    assert schema.groups == [[1, 2]]


@pytest.mark.parametrize(
    "name", ["L1", "LM1", "cleft", "upright", "left to right", "l", "l to r", "?", "roof rear top"]
)
def test_other_names_have_no_side(name: str) -> None:
    assert read_name(name).side is None
    assert pairs(name, "nose") is None


def test_without_sides_nothing_is_known_of_the_mirror() -> None:
    schema = completed(KeypointSchema(names=["front wheel", "rear wheel", "roof"]))
    assert schema.mirror_pairs is None
    assert schema.permutation is None
    assert schema.groups == [[0, 1]]


def test_a_left_without_a_right_stays_what_it_is() -> None:
    assert pairs("left eye", "nose") == []
    assert pairs("left eye", "left ear", "right ear") == [(1, 2)]
    assert pairs("left front paw", "right back paw") == []


def test_equal_names_are_paired_in_order() -> None:
    assert pairs("left ear", "left ear", "right ear", "right ear", "left ear") == [(0, 2), (1, 3)]


def test_what_is_given_is_kept() -> None:
    given = KeypointSchema(names=["left eye", "right eye", "nose"], mirror_pairs=[(2, 0)], groups=[[1, 2]])
    assert completed(given) == given
    none = KeypointSchema(names=["left eye", "right eye"], mirror_pairs=[], groups=[])
    assert completed(none) == none
    assert completed(none).permutation == [0, 1]


def test_permutations_become_pairs() -> None:
    given = KeypointSchema(names=["a", "b", "c", "d"], flip_permutation=[3, 1, 2, 0])
    schema = completed(given)
    assert (schema.mirror_pairs, schema.flip_permutation) == ([(0, 3)], None)
    assert schema.permutation == given.permutation


def test_groups_are_the_mirror_pairs_where_names_tell_none() -> None:
    assert completed(KeypointSchema(names=["a", "b", "c"], mirror_pairs=[(0, 2)])).groups == [[0, 2]]
    assert completed(KeypointSchema(names=["a", "b", "c"])).groups == []


@pytest.mark.parametrize("name", schema_names())
def test_completing_twice_changes_nothing(name: str) -> None:
    once = completed(KeypointSchema(names=named_schema(name).names))
    assert completed(once) == once
    assert completed(named_schema(name)) == named_schema(name)


def test_unknown_tables_are_told_apart_from_known_ones() -> None:
    with pytest.raises(ValueError, match="'spair71k/cars'") as refused:
        named_schema("spair71k/cars")
    hint = (
        "no table of keypoints is called 'spair71k/cars'; did you mean 'spair71k/car'? there are ap10k, spair71k/aero"
    )
    assert str(refused.value).startswith(hint)
    with pytest.raises(ValueError, match="called 'x'; there are ap10k, "):
        named_schema("x")


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"mirror_pairs": [(0, 0)]}, "mirror_pairs/0 pairs keypoint 0 with itself"),
        ({"mirror_pairs": [(0, 1), (1, 2)]}, "keypoint 1 is in mirror_pairs/0 and in mirror_pairs/1"),
        ({"mirror_pairs": [(0, 3)]}, "mirror_pairs/0 names keypoint 3; there are 0 to 2"),
        ({"mirror_pairs": [], "flip_permutation": [0, 1, 2]}, "either mirror_pairs or flip_permutation"),
        ({"flip_permutation": [1, 2, 0]}, "no involution: 0 becomes 1, but 1 becomes 2"),
        ({"flip_permutation": [0, 1]}, "2 entries for 3 names"),
        ({"flip_permutation": [0, 1, 3]}, "flip_permutation/2 names keypoint 3"),
        ({"groups": [[0, 1], [1, 2]]}, "keypoint 1 is in groups/0 and in groups/1"),
        ({"groups": [[0, 1, 0]]}, "keypoint 0 is in groups/0 and in groups/0"),
        ({"groups": [[0, 9]]}, "groups/0 names keypoint 9"),
    ],
)
def test_schemas_that_contradict_themselves_are_refused(given: dict[str, object], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        KeypointSchema.model_validate({"names": ["a", "b", "c"], **given})
