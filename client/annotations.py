"""Annotation files: ours, COCO's, and folders of SPair-71k."""

import json
import re
from collections.abc import Collection, Iterator
from pathlib import Path

from pydantic import JsonValue, ValidationError

from api_schemas.annotations.coco import from_coco, is_coco
from api_schemas.annotations.entries import fault_text
from api_schemas.annotations.model import Annotations, Split
from api_schemas.annotations.spair import from_spair

IMAGE_FOLDER, PAIR_FOLDER = "ImageAnnotation", "PairAnnotation"
# A training learns from what no other split names; where two do, the later counts.
PAIR_SPLITS: dict[str, Split] = {"val": "val", "test": "test"}
_PAIR = re.compile(r"[^-]*-(?P<source>[^-]+)-(?P<target>[^-]+?)(?::|__)(?P<category>[^:]+)")


def read_annotations(path: Path, pictures: Collection[str] | None = None) -> Annotations:
    """Read what is known of pictures.

    Args:
        path: a JSON file, as `Annotations` has it or a COCO keypoint file; or a folder of SPair-71k, whole or that of
            one category in `ImageAnnotation`. Where its `PairAnnotation` is there, a picture is of the split whose
            pairs name it, and of `train` where only those of `trn` do, or none.
        pictures: names of the picture files at hand; of a large set only these are read. All where left out.

    Raises:
        FileNotFoundError: there is no such file or folder, or the folder holds no annotations.
        ValueError: the content is none of these, or has a fault, or tells nothing of the pictures.
    """
    if path.is_dir():
        found = _read_spair(path, pictures)
    elif path.is_file():
        found = _read_json(path, pictures)
    else:
        raise FileNotFoundError(f"{path} does not exist; give a JSON file with annotations or a folder of SPair-71k")
    return found if pictures is None else select(found, pictures)


def select(annotations: Annotations, file_names: Collection[str]) -> Annotations:
    """Keep what is known of the picture files so named, and the categories that these are of.

    Raises:
        ValueError: nothing is known of any of them.
    """
    names = {Path(name).name for name in file_names}
    images = {name: image for name, image in annotations.images.items() if name in names}
    if not images:
        known = ", ".join(list(annotations.images)[:3])
        raise ValueError(
            f"the annotations tell nothing of the {len(names)} pictures: they are of {known}"
            f"{', …' if len(annotations.images) > 3 else ''}; name pictures as their annotations do"
        )
    used = {image.category for image in images.values()}
    kept = {name: schema for name, schema in annotations.categories.items() if name in used}
    return Annotations(categories=annotations.categories if None in used else kept, images=images)


def _read_json(path: Path, pictures: Collection[str] | None) -> Annotations:
    document = _document(path)
    try:
        if is_coco(document):
            return from_coco(document, only=pictures)
        return Annotations.model_validate(document)
    except ValidationError as error:
        raise ValueError(fault_text(error, str(path))) from error
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error


def _read_spair(folder: Path, pictures: Collection[str] | None) -> Annotations:
    whole = folder / IMAGE_FOLDER
    files = sorted(whole.glob("*/*.json") if whole.is_dir() else folder.glob("*.json"))
    if not files:
        raise FileNotFoundError(
            f"{folder} holds no annotations; give a JSON file, a folder with {IMAGE_FOLDER}/<category>/*.json as "
            "SPair-71k has it, or one of its categories"
        )
    if pictures is not None:
        stems = {Path(name).stem for name in pictures}
        files = [file for file in files if file.stem in stems]
        if not files:
            raise ValueError(f"{folder} tells nothing of the {len(stems)} pictures; name pictures as SPair-71k does")
    documents = [_object(file) for file in files]
    try:
        annotations = from_spair(documents)
    except ValueError as error:
        raise ValueError(f"{folder}: {error}") from error
    root = folder if folder.parent.name != IMAGE_FOLDER else folder.parent.parent
    return _with_splits(annotations, root / PAIR_FOLDER)


def _document(path: Path) -> JsonValue:
    try:
        document: JsonValue = json.loads(path.read_text(encoding="utf-8-sig"))
    except (UnicodeDecodeError, json.JSONDecodeError) as error:
        raise ValueError(f"{path}: no JSON: {error}") from error
    return document


def _object(path: Path) -> dict[str, JsonValue]:
    document = _document(path)
    if not isinstance(document, dict):
        raise ValueError(f"{path}: no image annotation of SPair-71k, which is a JSON object")
    return document


def _with_splits(annotations: Annotations, pairs: Path) -> Annotations:
    """Say which split each image is of, where pair annotations are there."""
    if not pairs.is_dir():
        return annotations
    splits: dict[tuple[str | None, str], Split] = {}
    for folder, split in PAIR_SPLITS.items():
        splits.update(dict.fromkeys(_paired(pairs / folder), split))
    images = {
        name: image.model_copy(update={"split": splits.get((image.category, Path(name).stem), "train")})
        for name, image in annotations.images.items()
    }
    return annotations.model_copy(update={"images": images})


def _paired(folder: Path) -> Iterator[tuple[str, str]]:
    """Category and stem of the images that pairs name; the pairs themselves are in the names of the files."""
    for file in folder.glob("[!.]*.json"):
        pair = _PAIR.fullmatch(file.stem)
        if pair is None:
            raise ValueError(
                f"{file}: names no pair; SPair-71k calls them <id>-<source>-<target>:<category>.json, or with __ for :"
            )
        yield pair["category"], pair["source"]
        yield pair["category"], pair["target"]
