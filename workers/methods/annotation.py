"""What a method is told of an image."""

from collections.abc import Mapping

import numpy as np

from api_schemas.annotations.model import ImageAnnotation
from api_schemas.keypoints.schema import KeypointSchema
from workers.methods.base import Annotation


def annotation_of(given: ImageAnnotation, categories: Mapping[str, KeypointSchema]) -> Annotation:
    """Translate a complete annotation.

    Args:
        given: names one of `categories`, unless it has no keypoints.
        categories: complete.
    """
    schema = categories.get(given.category or "")
    count = len(schema.names) if schema else 0
    keypoints = np.zeros((count, 3))
    for index in given.visible:
        x, y, _ = given.keypoints[index]
        keypoints[index] = x, y, 1
    return Annotation(
        category=given.category or "",
        schema=schema,
        keypoints=keypoints,
        box=given.box,
        azimuth=given.azimuth,
        pose=given.pose,
        split=given.split,
    )
