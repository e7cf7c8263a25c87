"""Uploaded images."""

from typing import Literal

from pydantic import Field

from api_schemas.base import ImageId, Schema, Sha256, Timestamp


class ImageLinks(Schema):
    """Where an image's own addresses are."""

    self: str
    content: str


class Image(Schema):
    """An uploaded picture: oriented by its EXIF tag, converted to sRGB, stripped of metadata, stored by content."""

    id: ImageId
    object: Literal["image"] = "image"
    name: str = Field(description="The uploaded file's name; a label only.")
    width: int = Field(ge=1, description="Pixels, after EXIF orientation.")
    height: int = Field(ge=1, description="Pixels, after EXIF orientation.")
    media_type: Literal["image/png", "image/jpeg"]
    bytes: int = Field(ge=1, description="Size of the stored content.")
    sha256: Sha256
    created_at: Timestamp
    links: ImageLinks


class ImageUpload(Schema):
    """Answer to an upload: the images in the order of the parts; a picture already known keeps its id."""

    items: list[Image]
