"""Image sets: uploaded images with an order."""

from typing import Annotated, Literal

from pydantic import Field

from api_schemas.base import DistinctImageIds, ImageSetId, Schema, Text, Timestamp
from api_schemas.images import Image

MAX_SET_IMAGES = 200


class ImageSetCreate(Schema):
    """Request to bind images into a set; the order of the ids is the order of the set."""

    image_ids: Annotated[DistinctImageIds, Field(min_length=1, max_length=MAX_SET_IMAGES)]
    name: Text | None = Field(default=None, max_length=200)


class ImageSetLinks(Schema):
    """Where a set's own address is."""

    self: str


class ImageSet(Schema):
    """Images of the same kind of thing, to be aligned together."""

    id: ImageSetId
    object: Literal["image_set"] = "image_set"
    name: str | None
    images: list[Image]
    created_at: Timestamp
    links: ImageSetLinks
