"""Annotations of a submission, and what is filled in."""

from collections.abc import Mapping

import pytest
from pydantic import ValidationError

from api_schemas.annotations.model import Annotations
from api_schemas.annotations.resolution import resolved
from api_schemas.keypoints.schema import KeypointSchema
from api_schemas.keypoints.tables import named_schema

FACE = {"names": ["left eye", "right eye", "nose"]}


def annotations(categories: dict[str, object], **images: Mapping[str, object]) -> Annotations:
    return Annotations.model_validate({"categories": categories, "images": images})


def test_tables_are_looked_up_and_schemas_completed() -> None:
    found = resolved(annotations({"cat": "spair71k/cat", "face": FACE}, a={"category": "cat"}))
    assert found.categories["cat"] == named_schema("spair71k/cat")
    assert found.categories["face"] == KeypointSchema(**FACE, mirror_pairs=[(0, 1)], groups=[[0, 1]])


def test_the_only_category_is_that_of_every_image() -> None:
    found = resolved(annotations({"face": FACE}, a={"keypoints": [[1, 2, 1]]}, b={"pose": "left"}))
    assert [image.category for image in found.images.values()] == ["face", "face"]
    assert found.images["a"].keypoints == [(1, 2, 1), (0, 0, 0), (0, 0, 0)]
    assert found.images["b"].keypoints == [(0, 0, 0)] * 3
    assert found.images["b"].visible == []
    assert resolved(found) == found


def test_images_may_have_no_category() -> None:
    plain = annotations({}, a={"pose": "left"}, b={"box": [0, 0, 5, 5]})
    assert resolved(plain) == plain
    among = annotations({"face": FACE, "cat": "spair71k/cat"}, a={"box": [0, 0, 5, 5]})
    assert resolved(among).images == among.images


def test_more_keypoints_than_names_are_refused() -> None:
    given = annotations({"face": FACE}, **{"a.jpg": {"keypoints": [[1, 2, 1]] * 5}})
    with pytest.raises(
        ValueError,
        match=r"^images/a\.jpg/keypoints has 5 entries, and category 'face' has 3 names: keypoints from 3 on",
    ):
        resolved(given)


def test_unknown_tables_are_refused_by_their_category() -> None:
    with pytest.raises(ValueError, match=r"^categories/cat: no table of keypoints is called 'spair/cat'; did you mean"):
        resolved(annotations({"cat": "spair/cat"}, a={"category": "cat"}))


@pytest.mark.parametrize(
    ("image", "message"),
    [
        ({"category": "dog"}, "images/a: category 'dog' is not in categories \\('face', 'cat'\\)"),
        ({"keypoints": [[1, 2, 1]]}, "images/a: keypoints need a category; there are 2"),
        ({"keypoints": [[1, 2, 3]]}, "less than or equal to 2"),
        ({"keypoints": [[float("nan"), 2, 1]]}, "finite"),
        ({"box": [5, 0, 5, 9]}, "box \\[5.0, 0.0, 5.0, 9.0\\] has no area"),
        ({"azimuth": 8}, "less than 8"),
        ({"split": "trn"}, "'train', 'val' or 'test'"),
    ],
)
def test_images_that_make_no_sense_are_refused(image: dict[str, object], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        annotations({"face": FACE, "cat": "spair71k/cat"}, a=image)
