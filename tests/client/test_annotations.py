"""Annotation files and folders, as the client reads them and sends them along."""

import json
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from api_schemas.annotations.coco import from_coco
from api_schemas.annotations.model import Annotations
from api_schemas.keypoints.schema import KeypointSchema
from client.annotations import read_annotations, select
from client.errors import ProblemError
from client.sdk import Congeal
from tests.client.pictures import write_pictures

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


FACE = ["nose", "left eye", "right eye"]
METHOD = "geo_aware"


def faces(names: Sequence[str]) -> dict[str, Any]:
    """Our annotations of pictures so named: a face with three keypoints in each, and not a word of sides."""
    keypoints = [[60, 64, 1], [50, 50, 1], [70, 50, 1]]
    images = {name: {"category": "face", "keypoints": keypoints} for name in names}
    return {"categories": {"face": {"names": FACE}}, "images": images}


def coco_faces(names: Sequence[str]) -> dict[str, Any]:
    """The same as a COCO document."""
    return {
        "images": [{"id": n, "file_name": f"train/{name}"} for n, name in enumerate(names)],
        "annotations": [
            {"id": n, "image_id": n, "category_id": 1, "keypoints": [60, 64, 1, 50, 50, 1, 70, 50, 1]}
            for n in range(len(names))
        ],
        "categories": [{"id": 1, "name": "face", "keypoints": FACE}],
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


def test_annotations_go_by_id_whatever_the_service_calls_the_pictures(sdk: Congeal, tmp_path: Path) -> None:
    pictures = write_pictures(tmp_path / "pictures", 2, seed=301)
    others = [shutil.copy(path, tmp_path / f"other-{path.name}") for path in pictures]
    known = sdk.upload(others)
    path = write(tmp_path / "faces.json", faces(["00.png", "01.png", "elsewhere.png"]))
    job = sdk.cancel(sdk.submit(METHOD, paths=[*pictures], annotations=path))
    assert [image.name for image in job.inputs.images] == ["other-00.png", "other-01.png"]
    told = sdk.annotations(job)
    assert list(told.images) == [image.id for image in known]
    assert told.images[known[0].id].keypoints == [(60, 64, 1), (50, 50, 1), (70, 50, 1)]
    assert told.categories == {"face": KeypointSchema(names=FACE, mirror_pairs=[(1, 2)], groups=[[1, 2]])}


def test_annotations_of_uploaded_images_go_by_their_names(sdk: Congeal, tmp_path: Path) -> None:
    pictures = write_pictures(tmp_path / "pictures", 2, seed=302)
    images = sdk.upload([*pictures])
    image_set = sdk.create_image_set(images)
    path = write(tmp_path / "faces.json", coco_faces(["01.png", "elsewhere.png"]))
    sources: list[dict[str, Any]] = [
        {"images": images},
        {"images": [image.id for image in images]},
        {"image_set": image_set},
        {"image_set": image_set.id},
        {"paths": [tmp_path / "pictures"]},
    ]
    for source in sources:
        found = sdk.validate(METHOD, annotations=str(path), **source)
        assert found.images == 2
        assert found.annotations is not None
        assert list(found.annotations.images) == [images[1].id]


def test_annotations_come_as_such_or_as_json(sdk: Congeal, pictures: list[Path]) -> None:
    images = sdk.upload([*pictures])
    names = [path.name for path in pictures]
    for given in (
        Annotations.model_validate(faces(names)),
        faces(names),
        coco_faces(names),
        faces([image.id for image in images]),
    ):
        found = sdk.validate(METHOD, paths=[*pictures], annotations=given).annotations
        assert found is not None
        assert list(found.images) == [image.id for image in images]
    by_id = sdk.validate(METHOD, images=images, annotations=faces([images[2].id])).annotations
    assert by_id is not None
    assert list(by_id.images) == [images[2].id]


def test_a_folder_of_spair_goes_along_with_its_pictures(sdk: Congeal, tmp_path: Path) -> None:
    root = write_spair(tmp_path / "spair")
    pictures = [tmp_path / f"{name}.jpg" for name in ("2008_1", "2009_3")]
    for shade, path in enumerate(pictures):
        Image.new("RGB", (333, 500), (shade * 60 + 90, 80, 70)).save(path)
    found = sdk.validate(METHOD, paths=[*pictures], annotations=root).annotations
    assert found is not None
    cat = found.categories["cat"]
    assert isinstance(cat, KeypointSchema)
    assert [image.split for image in found.images.values()] == ["train", "test"]
    assert [image.visible for image in found.images.values()] == [[3], [3]]
    assert cat.mirror_pairs


def test_faults_of_annotations_are_told_before_anything_is_sent(pictures: list[Path], tmp_path: Path) -> None:
    twice = [write_pictures(tmp_path / folder, 1, seed=seed)[0] for seed, folder in enumerate("ab")]
    broken: dict[str, Any] = {**faces(["00.png"]), "categories": {}}
    with Congeal("http://127.0.0.1:1") as nowhere:
        with pytest.raises(FileNotFoundError, match=r"gone\.json does not exist"):
            nowhere.submit(METHOD, paths=[*pictures], annotations=tmp_path / "gone.json")
        with pytest.raises(ValueError, match="category 'face' is not in categories"):
            nowhere.submit(METHOD, paths=[*pictures], annotations=broken)
        with pytest.raises(ValueError, match="nothing of the 3 pictures"):
            nowhere.submit(METHOD, paths=[*pictures], annotations=write(tmp_path / "x.json", faces(["x.png"])))
        with pytest.raises(ValueError, match=r"2 of the pictures are called '00\.png'"):
            nowhere.validate(METHOD, paths=[*twice], annotations=faces(["00.png"]))


def test_annotations_that_do_not_fit_come_back_as_a_problem(sdk: Congeal, pictures: list[Path]) -> None:
    image = sdk.upload([pictures[0]])[0]
    outside = {"categories": {"face": {"names": FACE}}, "images": {"00.png": {"keypoints": [[60, 640, 1]]}}}
    for given, pointer in (
        (faces(["00.png", image.id]), "/annotations/images/00.png"),
        (faces(["00.png", "unknown.png"]), "/annotations/images/unknown.png"),
        (outside, f"/annotations/images/{image.id}/keypoints/0"),
    ):
        with pytest.raises(ProblemError) as caught:
            sdk.submit(METHOD, paths=[*pictures], annotations=given)
        assert caught.value.problem.code == "annotations-mismatch"
        assert [error.pointer for error in caught.value.problem.errors] == [pointer]
