"""Annotations from COCO keypoint files, those of AP-10K among them."""

from collections.abc import Collection, Iterable, Mapping

from pydantic import JsonValue, ValidationError

from api_schemas.annotations.coco_file import CocoCategory, CocoFile, CocoImage, CocoInstance, Id, is_coco, read_coco
from api_schemas.annotations.entries import fault_text
from api_schemas.annotations.model import AnnotatedKeypoint, Annotations, ImageAnnotation
from api_schemas.keypoints.schema import KeypointSchema
from api_schemas.keypoints.tables import AP10K, is_ap10k, named_schema

__all__ = ["from_coco", "is_coco"]


def from_coco(document: Mapping[str, JsonValue], *, only: Collection[str] | None = None) -> Annotations:
    """Turn a COCO keypoint document into annotations.

    Of each image the largest instance counts that is no crowd: by `area`, else by its box; of equal ones the first.
    Images without such an instance are left out, and so are categories that no image is of. Points with v > 0 are
    visible, the hidden ones (v = 1) among them, and lie where the file says. Coordinates are taken as they are; `bbox`
    is [x, y, width, height], and one without area is no box. Categories may bring `mirror_pairs` or
    `flip_permutation`, and `groups` (or `geo_groups`), as `KeypointSchema` has them; the keypoints of AP-10K are known
    by their names.

    Args:
        document: `images`, `annotations` and `categories`.
        only: names of the files that matter; all of them where left out.

    Returns:
        Annotations by the name of the file, without its folders.

    Raises:
        ValueError: an entry is not as COCO has it, two images share a name, or nothing is left; names the entry.
    """
    file = read_coco(document)
    names = _names(file.images.values(), only)
    largest = _largest(file, names)
    if not largest:
        raise ValueError("annotations has no instance of the images that is not a crowd; there is nothing to tell")
    used = {instance.category_id for instance in largest.values()}
    schemas = {entry.name: _schema(entry) for entry in file.categories.values() if entry.id in used and entry.keypoints}
    try:
        return Annotations(
            categories={**schemas},
            images={names[id_]: _annotation(instance, file.categories) for id_, instance in largest.items()},
        )
    except ValidationError as error:
        raise ValueError(fault_text(error, "")) from error


def _names(images: Iterable[CocoImage], only: Collection[str] | None) -> dict[Id, str]:
    """Name the images that matter, by id."""
    names: dict[Id, str] = {}
    taken: dict[str, str] = {}
    for image in images:
        if only is not None and image.name not in only:
            continue
        if image.name in taken:
            raise ValueError(
                f"images {taken[image.name]!r} and {image.file_name!r} are both called {image.name!r}; rename one: "
                "pictures are known by the names of their files"
            )
        taken[image.name] = image.file_name
        names[image.id] = image.name
    return names


def _largest(file: CocoFile, names: Mapping[Id, str]) -> dict[Id, CocoInstance]:
    """Choose an instance for each image, in the order of the images."""
    keypoints_known = any(category.keypoints for category in file.categories.values())
    found: dict[Id, CocoInstance] = {}
    for instance in file.instances:
        known = file.categories[instance.category_id].keypoints or not keypoints_known
        if instance.image_id not in names or instance.iscrowd or not known:
            continue
        best = found.get(instance.image_id)
        if best is None or instance.size > best.size:
            found[instance.image_id] = instance
    return {id_: found[id_] for id_ in names if id_ in found}


def _schema(category: CocoCategory) -> KeypointSchema:
    if category.groups is not None and category.geo_groups is not None:
        raise ValueError(f"categories/{category.name}: give either groups or geo_groups, and not both")
    groups = category.geo_groups if category.groups is None else category.groups
    given: dict[str, object] = {
        "names": category.keypoints,
        "mirror_pairs": category.mirror_pairs,
        "flip_permutation": category.flip_permutation,
        "groups": groups,
    }
    if is_ap10k(category.keypoints):
        table = named_schema(AP10K)
        if groups is None:
            given["groups"] = table.groups
        if category.mirror_pairs is None and category.flip_permutation is None:
            given["mirror_pairs"] = table.mirror_pairs
    try:
        return KeypointSchema.model_validate(given)
    except ValidationError as error:
        raise ValueError(fault_text(error, f"categories/{category.name}")) from error


def _annotation(instance: CocoInstance, categories: Mapping[Id, CocoCategory]) -> ImageAnnotation:
    category = categories[instance.category_id]
    box = None
    if instance.bbox is not None and min(instance.bbox[2:]) > 0:
        x, y, width, height = instance.bbox
        box = (x, y, x + width, y + height)
    return ImageAnnotation(category=category.name if category.keypoints else None, keypoints=_points(instance), box=box)


def _points(instance: CocoInstance) -> list[AnnotatedKeypoint]:
    x, y = instance.keypoints[::3], instance.keypoints[1::3]
    return [(x[i], y[i], flag) if flag else (0.0, 0.0, 0) for i, flag in enumerate(instance.visibility)]
