"""Annotation files and folders, as the client reads them."""

import json
from pathlib import Path
from typing import Any

import pytest

from api_schemas.annotations.coco import from_coco
from api_schemas.annotations.model import Annotations
from client.annotations import read_annotations, select

OURS: dict[str, Any] = {
    "categories": {"face": {"names": ["left eye", "right eye"]}, "cat": "spair71k/cat"},
    "images": {
        "a.jpg": {"category": "face", "keypoints": [[1, 2, 1], [3, 4, 0]]},
        "b.jpg": {"category": "cat", "split": "test"},
        "c.jpg": {"category": "face", "box": [0, 0, 4, 5]},
    },
}
COCO: dict[str, Any] = {
    "images": [{"id": 1, "file_name": "data/a.jpg"}, {"id": 2, "file_name": "b.jpg"}],
    "annotations": [{"id": n, "image_id": n, "category_id": 7, "keypoints": [n, 2, 1, 3, 4, 2]} for n in (1, 2)],
    "categories": [{"id": 7, "name": "face", "keypoints": ["l_eye", "r_eye"]}],
}


def write(path: Path, document: object) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(document), encoding="utf-8")
    return path


def spair_image(name: str, category: str) -> dict[str, Any]:
    kps: dict[str, object] = {str(key): None for key in range(30)}
    return {
        "filename": f"{name}.jpg",
        "category": category,
        "image_width": 333,
        "image_height": 500,
        "azimuth_id": 2,
        "pose": "Unspecified",
        "bndbox": [1, 1, 300, 400],
        "kps": kps | {"3": [100, 200]},
    }


def write_spair(root: Path, *, separator: str = ":", pairs: bool = True) -> Path:
    """Five cats and a dog; pairs put one cat into validation and two into the test."""
    for category, names in {"cat": ["2008_1", "2008_2", "2009_3", "2009_4", "2010_5"], "dog": ["2008_6"]}.items():
        for name in names:
            write(root / "ImageAnnotation" / category / f"{name}.json", spair_image(name, category))
    named = {
        "trn": ["1-2008_1-2010_5", "2-2010_5-2008_1"],
        "val": ["3-2008_2-2010_5"],
        "test": ["4-2009_3-2009_4", "5-2009_4-2009_3"],
    }
    for folder, stems in named.items() if pairs else ():
        for stem in stems:
            write(root / "PairAnnotation" / folder / f"{stem}{separator}cat.json", {})
    return root


def splits(annotations: Annotations) -> dict[str, str | None]:
    return {name.removesuffix(".jpg"): image.split for name, image in annotations.images.items()}


def test_our_own_files_are_read(tmp_path: Path) -> None:
    path = write(tmp_path / "annotations.json", OURS)
    assert read_annotations(path) == Annotations.model_validate(OURS)
    path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes())
    assert read_annotations(path) == Annotations.model_validate(OURS)


def test_coco_files_are_read(tmp_path: Path) -> None:
    path = write(tmp_path / "coco.json", COCO)
    assert read_annotations(path) == from_coco(COCO)
    assert list(read_annotations(path, ["b.jpg", "z.jpg"]).images) == ["b.jpg"]


def test_what_is_known_of_other_pictures_is_left_out() -> None:
    annotations = Annotations.model_validate(OURS)
    chosen = select(annotations, ["/somewhere/c.jpg", "a.jpg", "unknown.jpg"])
    assert list(chosen.images) == ["a.jpg", "c.jpg"]
    assert list(chosen.categories) == ["face"]
    assert chosen.images["a.jpg"] == annotations.images["a.jpg"]


def test_the_only_category_stays_where_images_leave_it_out() -> None:
    left_out = {"categories": {"face": {"names": ["left eye"]}}, "images": {"a": {}, "b": {"keypoints": [[1, 1, 1]]}}}
    annotations = Annotations.model_validate(left_out)
    assert select(annotations, ["b"]).categories == annotations.categories


def test_pictures_of_which_nothing_is_known_are_refused() -> None:
    with pytest.raises(
        ValueError, match=r"nothing of the 2 pictures: they are of a\.jpg, b\.jpg, c\.jpg; name pictures"
    ):
        select(Annotations.model_validate(OURS), ["x.jpg", "y.jpg"])


@pytest.mark.parametrize("separator", [":", "__"])
def test_folders_of_spair_are_read_with_their_splits(tmp_path: Path, separator: str) -> None:
    found = read_annotations(write_spair(tmp_path, separator=separator))
    assert found.categories == {"cat": "spair71k/cat", "dog": "spair71k/dog"}
    assert splits(found) == {
        "2008_1": "train",
        "2008_2": "val",
        "2009_3": "test",
        "2009_4": "test",
        "2010_5": "val",
        "2008_6": "train",
    }
    assert found.images["2009_3.jpg"].visible == [3]
    assert found.images["2009_3.jpg"].keypoints[3] == (100, 200, 1)


def test_pairs_of_another_category_say_nothing(tmp_path: Path) -> None:
    root = write_spair(tmp_path)
    write(root / "PairAnnotation" / "test" / "9-2008_1-2008_6:horse.json", {})
    assert splits(read_annotations(root, ["2008_1.jpg", "2008_6.jpg"])) == {"2008_1": "train", "2008_6": "train"}


def test_a_category_of_spair_can_be_read_alone(tmp_path: Path) -> None:
    root = write_spair(tmp_path)
    found = read_annotations(root / "ImageAnnotation" / "cat")
    assert found.categories == {"cat": "spair71k/cat"}
    assert splits(found)["2009_3"] == "test"
    bare = read_annotations(write_spair(tmp_path / "bare", pairs=False) / "ImageAnnotation" / "cat")
    assert set(splits(bare).values()) == {None}


def test_only_the_pictures_at_hand_are_read(tmp_path: Path) -> None:
    root = write_spair(tmp_path)
    for n in range(300):
        write(root / "ImageAnnotation" / "cow" / f"{n}.json", spair_image(str(n), "cow"))
    found = read_annotations(root, ["2009_3.jpg", "299.jpg"])
    assert splits(found) == {"2009_3": "test", "299": "train"}
    assert set(found.categories) == {"cat", "cow"}
    with pytest.raises(ValueError, match="images: Dictionary should have at most 200 items"):
        read_annotations(root)
    with pytest.raises(ValueError, match="tells nothing of the 1 pictures"):
        read_annotations(root, ["2009_99.jpg"])


def test_pairs_called_otherwise_are_refused(tmp_path: Path) -> None:
    root = write_spair(tmp_path)
    odd = write(root / "PairAnnotation" / "test" / "cat.json", {})
    with pytest.raises(ValueError, match=r"cat\.json: names no pair; SPair-71k calls them"):
        read_annotations(root)
    odd.rename(odd.with_name(".cat.json"))
    assert splits(read_annotations(root))["2009_3"] == "test"


def test_faults_name_the_file(tmp_path: Path) -> None:
    broken = tmp_path / "broken.json"
    broken.write_text("{", encoding="utf-8")
    with pytest.raises(ValueError, match=r"broken\.json: no JSON: .* line 1"):
        read_annotations(broken)
    unknown = write(tmp_path / "unknown.json", {**OURS, "keypoints": []})
    with pytest.raises(ValueError, match=r"unknown\.json/keypoints: Extra inputs are not permitted"):
        read_annotations(unknown)
    coco = write(tmp_path / "coco.json", {**COCO, "images": []})
    with pytest.raises(ValueError, match=r"coco\.json: annotations/0: image_id 1 is not among images"):
        read_annotations(coco)
    root = write_spair(tmp_path / "spair")
    write(root / "ImageAnnotation" / "cat" / "2008_1.json", [])
    with pytest.raises(ValueError, match=r"2008_1\.json: no image annotation of SPair-71k"):
        read_annotations(root)


def test_places_without_annotations_are_named(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"nowhere\.json does not exist"):
        read_annotations(tmp_path / "nowhere.json")
    with pytest.raises(
        FileNotFoundError, match="holds no annotations; give a JSON file, a folder with ImageAnnotation"
    ):
        read_annotations(tmp_path)
