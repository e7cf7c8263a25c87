"""Annotations with everything said outright that may be left out."""

from collections.abc import Mapping

from api_schemas.annotations.model import AnnotatedKeypoint, Annotations, ImageAnnotation
from api_schemas.keypoints.inference import completed
from api_schemas.keypoints.schema import KeypointSchema
from api_schemas.keypoints.tables import named_schema

UNKNOWN: AnnotatedKeypoint = (0.0, 0.0, 0)


def resolved(annotations: Annotations) -> Annotations:
    """Look up named tables, complete schemas, and give every image its category and all its keypoints.

    Returns:
        Annotations whose categories are all schemas with groups, and with mirror pairs where they are known (see
        `completed`). An image with a category lists as many keypoints as that has names; those not known are
        [0, 0, 0]. Images are without a category only where there are none to choose from, or several.

    Raises:
        ValueError: a table does not exist, or an image lists more keypoints than its category has names.
    """
    schemas = {name: _schema(name, given) for name, given in annotations.categories.items()}
    images = {name: _image(name, image, schemas) for name, image in annotations.images.items()}
    return Annotations(categories={**schemas}, images=images)


def _schema(category: str, given: KeypointSchema | str) -> KeypointSchema:
    try:
        return completed(named_schema(given) if isinstance(given, str) else given)
    except ValueError as error:
        raise ValueError(f"categories/{category}: {error}") from error


def _image(name: str, image: ImageAnnotation, schemas: Mapping[str, KeypointSchema]) -> ImageAnnotation:
    category = image.category or (next(iter(schemas)) if len(schemas) == 1 else None)
    if category is None:
        return image
    count, given = len(schemas[category].names), len(image.keypoints)
    if given > count:
        raise ValueError(
            f"images/{name}/keypoints has {given} entries, and category {category!r} has {count} names: "
            f"keypoints from {count} on are unknown to it"
        )
    keypoints = [*image.keypoints, *[UNKNOWN] * (count - given)]
    return image.model_copy(update={"category": category, "keypoints": keypoints})
