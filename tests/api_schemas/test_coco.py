"""Annotations from COCO keypoint files."""

import json
from typing import Any

import pytest
from pydantic import TypeAdapter, ValidationError

from api_schemas.annotations.coco import from_coco, is_coco
from api_schemas.annotations.given import AnnotationsInput
from api_schemas.annotations.model import Annotations
from api_schemas.annotations.resolution import resolved
from api_schemas.keypoints.schema import KeypointSchema
from api_schemas.keypoints.tables import named_schema

READ: TypeAdapter[Annotations] = TypeAdapter(AnnotationsInput)


def document() -> dict[str, Any]:
    """Three pictures, one in landscape, one in portrait and one of odd size, with the three keypoints of a face."""
    category = {"id": 4, "name": "face", "supercategory": "part", "keypoints": ["l_eye", "r_eye", "nose"]}
    return {
        "info": {"year": 2026},
        "images": [
            {"id": 10, "file_name": "a.jpg", "width": 640, "height": 480},
            {"id": 11, "file_name": "folder/b.jpg", "width": 480, "height": 640},
            {"id": 12, "file_name": "c.jpg", "width": 333, "height": 501},
        ],
        "annotations": [
            instance(1, 10, [10, 20, 2, 30.5, 40.25, 1, 0, 0, 0], area=500.0),
            instance(2, 10, [1, 1, 2, 2, 2, 2, 3, 3, 2], area=900.0, iscrowd=1),
            instance(3, 11, [5, 6, 2, 0, 0, 0, 7, 8, 2], bbox=[1, 2, 30, 40]),
            instance(4, 12, [0] * 9, area=1.0),
        ],
        "categories": [category, {"id": 5, "name": "house", "keypoints": ["door"]}],
    }


def instance(id_: int, image_id: int, keypoints: list[float], **more: object) -> dict[str, Any]:
    return {"id": id_, "image_id": image_id, "category_id": 4, "keypoints": keypoints, "num_keypoints": 2, **more}


def test_keypoints_boxes_and_categories_are_read() -> None:
    found = from_coco(document())
    assert list(found.images) == ["a.jpg", "b.jpg", "c.jpg"]
    assert found.images["b.jpg"].keypoints == [(5, 6, 2), (0, 0, 0), (7, 8, 2)]
    assert found.images["b.jpg"].box == (1, 2, 31, 42)
    assert found.images["b.jpg"].visible == [0, 2]
    assert found.images["c.jpg"].visible == []
    assert found.categories == {"face": KeypointSchema(names=["l_eye", "r_eye", "nose"])}


def test_hidden_points_stay_where_they_are() -> None:
    image = from_coco(document()).images["a.jpg"]
    assert image.keypoints == [(10, 20, 2), (30.5, 40.25, 1), (0, 0, 0)]
    assert image.visible == [0, 1]


def test_what_is_read_goes_through_json_and_back() -> None:
    found = from_coco(document())
    assert READ.validate_json(found.model_dump_json()) == found
    assert READ.validate_python(found) == found
    assert resolved(READ.validate_json(resolved(found).model_dump_json())) == resolved(found)


def test_a_request_may_bring_a_coco_document() -> None:
    assert READ.validate_json(json.dumps(document())) == from_coco(document())
    broken = document()
    broken["annotations"][2]["image_id"] = 3
    with pytest.raises(ValidationError, match="annotations/2: image_id 3 is not among images"):
        READ.validate_python(broken)


def test_the_form_of_coco_is_told_apart() -> None:
    assert is_coco({"images": [], "annotations": []})
    assert not is_coco({"images": {}, "annotations": []})
    assert not is_coco({"images": []})
    assert not is_coco([])


@pytest.mark.parametrize(
    ("first", "second", "chosen"),
    [
        ({"area": 10}, {"area": 11}, 2),
        ({"area": 10}, {"area": 10}, 1),
        ({"area": 10}, {"bbox": [0, 0, 4, 4]}, 2),
        ({"area": 10, "bbox": [0, 0, 9, 9]}, {"bbox": [0, 0, 4, 4]}, 2),
        ({}, {"bbox": [0, 0, 1, 1]}, 2),
        ({"area": 10}, {"area": 99, "iscrowd": 1}, 1),
    ],
)
def test_the_largest_instance_that_is_no_crowd_counts(
    first: dict[str, Any], second: dict[str, Any], chosen: int
) -> None:
    given = document()
    given["annotations"] = [instance(n, 10, [n, n, 2] * 3, **more) for n, more in ((1, first), (2, second))]
    assert from_coco(given).images["a.jpg"].keypoints[0] == (chosen, chosen, 2)


def test_images_of_which_nothing_is_known_are_left_out() -> None:
    given = document()
    given["annotations"][0]["iscrowd"] = 1
    assert list(from_coco(given).images) == ["b.jpg", "c.jpg"]
    given["annotations"] = []
    with pytest.raises(ValueError, match="no instance of the images that is not a crowd"):
        from_coco(given)


def test_only_the_files_that_matter_are_taken() -> None:
    given = document()
    given["images"] += [{"id": 100 + n, "file_name": f"{n}.jpg"} for n in range(300)]
    given["annotations"] += [instance(100 + n, 100 + n, [1, 1, 2] * 3) for n in range(300)]
    assert list(from_coco(given, only={"7.jpg", "b.jpg"}).images) == ["b.jpg", "7.jpg"]
    with pytest.raises(ValueError, match=r"^images: Dictionary should have at most 200 items"):
        from_coco(given)


def test_equal_file_names_are_refused_where_they_matter() -> None:
    given = document()
    given["images"][2]["file_name"] = "other/b.jpg"
    with pytest.raises(ValueError, match=r"'folder/b\.jpg' and 'other/b\.jpg' are both called 'b\.jpg'"):
        from_coco(given)
    assert list(from_coco(given, only={"a.jpg"}).images) == ["a.jpg"]


def test_categories_bring_mirror_pairs_and_groups() -> None:
    given = document()
    given["categories"][0] |= {"flip_permutation": [1, 0, 2], "geo_groups": [[0, 1]]}
    schema = from_coco(given).categories["face"]
    assert isinstance(schema, KeypointSchema)
    assert (schema.flip_permutation, schema.groups) == ([1, 0, 2], [[0, 1]])
    given["categories"][0] |= {"groups": []}
    with pytest.raises(ValueError, match="categories/face: give either groups or geo_groups"):
        from_coco(given)
    given["categories"][0] |= {"geo_groups": None, "groups": [[0, 7]]}
    with pytest.raises(ValueError, match=r"^categories/face: groups/0 names keypoint 7; there are 0 to 2$"):
        from_coco(given)


def test_ap10k_is_known_by_its_names() -> None:
    table = named_schema("ap10k")
    names = [name.replace(" ", "_") for name in table.names]
    given = document()
    given["categories"] = [{"id": 4, "name": "dog", "supercategory": "Canidae", "keypoints": names}]
    given["annotations"] = [instance(1, 10, [3, 4, 2] * 17, bbox=[0, 0, 9, 9])]
    expected = {"names": names, "mirror_pairs": table.mirror_pairs, "groups": table.groups}
    assert from_coco(given).categories == {"dog": KeypointSchema.model_validate(expected)}
    given["categories"][0]["groups"] = [[0, 1]]
    schema = resolved(from_coco(given)).categories["dog"]
    assert isinstance(schema, KeypointSchema)
    assert (schema.mirror_pairs, schema.groups) == (table.mirror_pairs, [[0, 1]])


def test_files_without_keypoints_give_boxes() -> None:
    given = document()
    given["categories"] = [{"id": 4, "name": "face"}]
    given["annotations"] = [
        {"image_id": 10, "category_id": 4, "bbox": [1, 2, 3, 4]},
        {"image_id": 11, "category_id": 4, "bbox": [1, 2, 0, 4], "area": 5},
    ]
    found = from_coco(given)
    assert found.categories == {}
    assert [(image.category, image.box) for image in found.images.values()] == [(None, (1, 2, 4, 6)), (None, None)]


def test_things_without_keypoints_do_not_hide_those_with() -> None:
    given = document()
    given["categories"].append({"id": 6, "name": "rug"})
    given["annotations"].append({"image_id": 10, "category_id": 6, "bbox": [0, 0, 640, 480]})
    assert from_coco(given) == from_coco(document())


@pytest.mark.parametrize(
    ("part", "index", "change", "message"),
    [
        ("annotations", 0, {"image_id": 3}, "annotations/0: image_id 3 is not among images"),
        ("annotations", 1, {"category_id": 9}, "annotations/1: category_id 9 is not among categories"),
        ("annotations", 2, {"keypoints": [1, 2]}, "annotations/2/keypoints has 2 numbers; there are three"),
        (
            "annotations",
            2,
            {"keypoints": [1, 2, 2]},
            "annotations/2/keypoints has 1 keypoints; category 'face' names 3",
        ),
        ("annotations", 0, {"keypoints": [1, 2, 3] * 3}, "annotations/0/keypoints/2: v is 3; it is 0"),
        ("annotations", 0, {"keypoints": [1, 2, 0.5] * 3}, r"annotations/0/keypoints/2: v is 0\.5"),
        ("annotations", 0, {"keypoints": [1, float("nan"), 2]}, "annotations/0/keypoints/1: Input should be a finite"),
        ("annotations", 0, {"keypoints": None}, "annotations/0/keypoints: Input should be a valid list"),
        ("annotations", 0, {"bbox": [1, 2, 3]}, "annotations/0/bbox/3: Field required"),
        ("annotations", 0, {"bbox": [1, 2, -3, 4]}, "annotations/0/bbox/2: Input should be greater than or equal to 0"),
        ("annotations", 0, {"bbox": [1, float("inf"), 3, 4]}, "annotations/0/bbox/1: Input should be a finite"),
        ("annotations", 0, {"area": float("nan")}, "annotations/0/area: Input should be"),
        ("images", 1, {"id": 10}, "images/1: id 10 is that of an earlier entry"),
        ("images", 1, {"file_name": ""}, "images/1/file_name: String should have at least 1"),
        ("categories", 1, {"name": "face"}, "2 categories are called 'face'"),
        ("categories", 0, {"keypoints": [""]}, "categories/0/keypoints/0: String should have at least 1"),
        ("categories", 0, {"mirror_pairs": [[0, 0]]}, "categories/face: mirror_pairs/0 pairs keypoint 0 with itself"),
    ],
)
def test_faults_name_their_entry(part: str, index: int, change: dict[str, object], message: str) -> None:
    given = document()
    given[part][index] |= change
    with pytest.raises(ValueError, match=f"^{message}"):
        from_coco(given)


def test_entries_of_another_kind_are_named() -> None:
    given = document()
    given["annotations"][1] = 7
    with pytest.raises(ValueError, match=r"^annotations/1: Input should be a valid dictionary"):
        from_coco(given)
    del given["categories"]
    with pytest.raises(ValueError, match="a COCO file needs categories"):
        from_coco(given)
