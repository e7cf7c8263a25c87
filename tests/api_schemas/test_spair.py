"""Annotations from image files of SPair-71k."""

from typing import Any

import pytest

from api_schemas.annotations.model import Annotations
from api_schemas.annotations.resolution import resolved
from api_schemas.annotations.spair import from_spair


def document(name: str = "2008_000585.jpg", category: str = "cat", **change: Any) -> dict[str, Any]:
    kps: dict[str, list[int] | None] = {str(key): None for key in range(30)}
    kps |= {"0": [12, 34], "9": [5, 300], "14": [499, 0]}
    return {
        "filename": name,
        "src_database": "PASCAL VOC 2012",
        "image_width": 500,
        "image_height": 333,
        "image_depth": 3,
        "category": category,
        "pose": "Left",
        "truncated": 0,
        "azimuth_id": 5,
        "bndbox": [3, 4, 480, 320],
        "kps": kps,
        **change,
    }


def test_image_files_are_read() -> None:
    found = from_spair([document(), document("2009_1.jpg", pose="Unspecified", azimuth_id=-1, bndbox=None)])
    assert found.categories == {"cat": "spair71k/cat"}
    image, bare = found.images["2008_000585.jpg"], found.images["2009_1.jpg"]
    assert len(image.keypoints) == 15
    assert {index: image.keypoints[index] for index in image.visible} == {
        0: (12, 34, 1),
        9: (5, 300, 1),
        14: (499, 0, 1),
    }
    assert (image.category, image.box, image.azimuth, image.pose) == ("cat", (3, 4, 480, 320), 5, "Left")
    assert (bare.box, bare.azimuth, bare.pose, bare.split) == (None, None, None, None)


def test_missing_keys_are_not_known() -> None:
    found = from_spair([document(kps={"3": [1, 2]})])
    assert found.images["2008_000585.jpg"].visible == [3]
    assert len(found.images["2008_000585.jpg"].keypoints) == 15


def test_raw_ids_are_kept_where_some_are_not_used() -> None:
    found = resolved(from_spair([document(category="bicycle", kps={"10": [1, 2], "11": None, "13": [3, 4]})]))
    assert found.images["2008_000585.jpg"].visible == [10, 13]


def test_what_is_read_goes_through_json_and_back() -> None:
    found = from_spair([document(), document("b.jpg", "car", kps={"29": [0.5, 1.25]})])
    assert Annotations.model_validate_json(found.model_dump_json()) == found
    again = Annotations.model_validate_json(resolved(found).model_dump_json())
    assert resolved(again) == again
    assert again.images["b.jpg"].keypoints[29] == (0.5, 1.25, 1)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"kps": {"15": [1, 2]}}, "a.jpg: kps/15 is known, and spair71k/cat has ids 0 to 14"),
        ({"kps": {"x": [1, 2]}}, "a.jpg/kps/x/"),
        ({"kps": {"1": [1, float("nan")]}}, "a.jpg/kps/1/1: Input should be a finite number"),
        ({"kps": {"1": [1]}}, "a.jpg/kps/1/1: Field required"),
        ({"kps": None}, "a.jpg/kps: Input should be a valid dictionary"),
        ({"category": "cats"}, "a.jpg: no table of keypoints is called 'spair71k/cats'; did you mean 'spair71k/cat'?"),
        ({"azimuth_id": 8}, "a.jpg/azimuth_id: Input should be less than 8"),
        ({"bndbox": [5, 5, 5, 9]}, "a.jpg: box [5.0, 5.0, 5.0, 9.0] has no area"),
    ],
)
def test_faults_name_the_file(change: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=r"^a\.jpg") as refused:
        from_spair([document("ok.jpg"), document("a.jpg", **change)])
    assert str(refused.value).startswith(message)


def test_a_picture_of_two_things_is_refused() -> None:
    with pytest.raises(ValueError, match=r"a\.jpg comes as 'cat' and as 'dog'"):
        from_spair([document("a.jpg"), document("a.jpg", "dog")])


def test_a_document_without_a_name_is_counted() -> None:
    nameless = document()
    del nameless["filename"]
    with pytest.raises(ValueError, match=r"^document 1/filename: Field required"):
        from_spair([document(), nameless])
