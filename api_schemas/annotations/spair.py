"""Annotations from the image files of SPair-71k (arXiv 1908.10543)."""

from collections.abc import Iterable, Mapping
from typing import Annotated

from pydantic import Field, JsonValue, ValidationError

from api_schemas.annotations.coco_file import Finite
from api_schemas.annotations.entries import Entry, fault_text, read_entry
from api_schemas.annotations.model import AZIMUTH_BINS, AnnotatedKeypoint, Annotations, CategoryName, ImageAnnotation
from api_schemas.base import Text
from api_schemas.keypoints.tables import SPAIR71K, named_schema
from api_schemas.queries import Box

UNSPECIFIED = "Unspecified"


class SpairImage(Entry):
    """One file of `ImageAnnotation`."""

    filename: Annotated[Text, Field(min_length=1)]
    category: CategoryName
    azimuth_id: int | None = Field(default=None, lt=AZIMUTH_BINS, description="Below 0: not known.")
    pose: str | None = None
    bndbox: Box | None = Field(default=None, description="[x0, y0, x1, y1].")
    kps: dict[Annotated[str, Field(pattern=r"^\d+$")], tuple[Finite, Finite] | None]


def from_spair(documents: Iterable[Mapping[str, JsonValue]]) -> Annotations:
    """Turn image annotations of SPair-71k into annotations.

    Keypoints keep their raw ids; those that are null or missing are not known. Categories stand for the tables
    `spair71k/<category>`. Coordinates are taken as they are. A pose that is not specified is left out.

    Returns:
        Annotations by file name, without splits: these are in the pair annotations.

    Raises:
        ValueError: a document is not as SPair-71k has it, its category or an id has no place in the tables, or two
            documents are of the same picture; names the file.
    """
    images: dict[str, ImageAnnotation] = {}
    for index, document in enumerate(documents):
        image = read_entry(SpairImage, document, str(document.get("filename", f"document {index}")))
        if image.filename in images:
            raise ValueError(
                f"{image.filename} comes as {images[image.filename].category!r} and as {image.category!r}; "
                "a picture can have one of them: give the folder of one category"
            )
        images[image.filename] = _annotation(image)
    categories = dict.fromkeys(image.category for image in images.values() if image.category)
    try:
        return Annotations(categories={name: f"{SPAIR71K}/{name}" for name in categories}, images=images)
    except ValidationError as error:
        raise ValueError(fault_text(error, "")) from error


def _annotation(image: SpairImage) -> ImageAnnotation:
    given = {
        "category": image.category,
        "keypoints": _keypoints(image),
        "box": image.bndbox,
        "azimuth": None if image.azimuth_id is None or image.azimuth_id < 0 else image.azimuth_id,
        "pose": None if image.pose in (None, "", UNSPECIFIED) else image.pose,
    }
    try:
        return ImageAnnotation.model_validate(given)
    except ValidationError as error:
        raise ValueError(fault_text(error, image.filename)) from error


def _keypoints(image: SpairImage) -> list[AnnotatedKeypoint]:
    try:
        count = len(named_schema(f"{SPAIR71K}/{image.category}").names)
    except ValueError as error:
        raise ValueError(f"{image.filename}: {error}") from error
    keypoints: list[AnnotatedKeypoint] = [(0.0, 0.0, 0)] * count
    for key, place in image.kps.items():
        if place is None:
            continue
        if int(key) >= count:
            raise ValueError(
                f"{image.filename}: kps/{key} is known, and {SPAIR71K}/{image.category} has ids 0 to {count - 1}"
            )
        keypoints[int(key)] = (*place, 1)
    return keypoints
