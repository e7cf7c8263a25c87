"""Annotations as a request may bring them: as such, or as a COCO keypoint document."""

from typing import Annotated

from pydantic import BeforeValidator

from api_schemas.annotations.coco import from_coco, is_coco
from api_schemas.annotations.model import Annotations


def annotations_from(given: object) -> object:
    """Turn a COCO document into annotations, and leave everything else as it is.

    Raises:
        ValueError: it has the form of COCO, and a fault; see `from_coco`.
    """
    return from_coco(given) if is_coco(given) else given


AnnotationsInput = Annotated[Annotations, BeforeValidator(annotations_from)]
