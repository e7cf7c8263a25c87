"""COCO keypoint files as they are: images, instances, categories, and that these fit each other."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, TypeGuard, TypeVar

from pydantic import Field, JsonValue

from api_schemas.annotations.entries import E, Entry, read_entry
from api_schemas.annotations.model import CategoryName
from api_schemas.base import Text
from api_schemas.keypoints.schema import KeypointName

Id = int | str
Finite = Annotated[float, Field(allow_inf_nan=False)]
Extent = Annotated[float, Field(ge=0, allow_inf_nan=False)]


class CocoImage(Entry):
    """A picture."""

    id: Id
    file_name: Annotated[Text, Field(min_length=1)]

    @property
    def name(self) -> str:
        """Name of the file without its folders."""
        return self.file_name.replace("\\", "/").rpartition("/")[2]


class CocoInstance(Entry):
    """An object in a picture."""

    id: Id | None = None
    image_id: Id
    category_id: Id
    bbox: tuple[Finite, Finite, Extent, Extent] | None = Field(default=None, description="[x, y, width, height].")
    area: Extent | None = None
    iscrowd: Annotated[int, Field(ge=0, le=1)] = 0
    keypoints: list[Finite] = Field(default=[], description="x, y, v of each keypoint, one after the other.")

    @property
    def size(self) -> float:
        """Area in square pixels: of the object, else of its box; 0 where neither is known."""
        if self.area is not None:
            return self.area
        return 0.0 if self.bbox is None else self.bbox[2] * self.bbox[3]

    @property
    def visibility(self) -> list[int]:
        """Of each keypoint: 0 not labelled, 1 hidden, 2 visible."""
        return [int(flag) for flag in self.keypoints[2::3]]


class CocoCategory(Entry):
    """A kind of object; how its keypoints mirror is not in COCO, and may be given along."""

    id: Id
    name: CategoryName
    supercategory: str | None = None
    keypoints: list[KeypointName] = Field(default=[])
    mirror_pairs: JsonValue = None
    flip_permutation: JsonValue = None
    groups: JsonValue = None
    geo_groups: JsonValue = Field(default=None, description="Another name of `groups`.")


Identified = TypeVar("Identified", CocoImage, CocoCategory)


@dataclass(frozen=True)
class CocoFile:
    """A file whose instances all belong to its images and categories, and have their categories' keypoints."""

    images: Mapping[Id, CocoImage]
    """By id."""
    instances: Sequence[CocoInstance]
    """In the order of the file."""
    categories: Mapping[Id, CocoCategory]
    """By id."""


def is_coco(document: object) -> TypeGuard[Mapping[str, JsonValue]]:
    """Tell whether a JSON document has the form of COCO: lists of images and of annotations."""
    return isinstance(document, Mapping) and all(
        isinstance(document.get(part), list) for part in ("images", "annotations")
    )


def read_coco(document: Mapping[str, JsonValue]) -> CocoFile:
    """Read a COCO keypoint document.

    Raises:
        ValueError: an entry is not as COCO has it; names the entry by its place in the file, such as `annotations/17`.
    """
    images = _by_id("images", _entries(document, "images", CocoImage))
    categories = _by_id("categories", _entries(document, "categories", CocoCategory))
    _check_names(categories)
    instances = _entries(document, "annotations", CocoInstance)
    for index, instance in enumerate(instances):
        for fault in _faults(instance, images, categories):
            raise ValueError(f"annotations/{index}{fault}")
    return CocoFile(images, instances, categories)


def _entries(document: Mapping[str, JsonValue], part: str, model: type[E]) -> list[E]:
    given = document.get(part)
    if not isinstance(given, list):
        raise ValueError(f"a COCO file needs {part}: a list of entries")
    return [read_entry(model, entry, f"{part}/{index}") for index, entry in enumerate(given)]


def _by_id(part: str, entries: Sequence[Identified]) -> dict[Id, Identified]:
    found: dict[Id, Identified] = {}
    for index, entry in enumerate(entries):
        if entry.id in found:
            raise ValueError(f"{part}/{index}: id {entry.id!r} is that of an earlier entry")
        found[entry.id] = entry
    return found


def _check_names(categories: Mapping[Id, CocoCategory]) -> None:
    for name, count in Counter(category.name for category in categories.values()).items():
        if count > 1:
            raise ValueError(f"{count} categories are called {name!r}; give each a name of its own")


def _faults(
    instance: CocoInstance, images: Mapping[Id, CocoImage], categories: Mapping[Id, CocoCategory]
) -> Sequence[str]:
    """What is wrong with an instance."""
    if instance.image_id not in images:
        return [f": image_id {instance.image_id!r} is not among images"]
    category = categories.get(instance.category_id)
    if category is None:
        return [f": category_id {instance.category_id!r} is not among categories"]
    numbers, names = len(instance.keypoints), len(category.keypoints)
    if numbers % 3:
        return [f"/keypoints has {numbers} numbers; there are three to a keypoint: x, y, v"]
    if numbers and numbers != 3 * names:
        return [f"/keypoints has {numbers // 3} keypoints; category {category.name!r} names {names}"]
    return [
        f"/keypoints/{3 * index + 2}: v is {flag:g}; it is 0 (not labelled), 1 (hidden) or 2 (visible)"
        for index, flag in enumerate(instance.keypoints[2::3])
        if flag not in (0, 1, 2)
    ]
