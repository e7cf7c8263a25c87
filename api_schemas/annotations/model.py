"""Annotations as a submission gives them."""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from api_schemas.base import Schema, Text
from api_schemas.image_sets import MAX_SET_IMAGES
from api_schemas.keypoints.schema import MAX_KEYPOINTS, GivenSchema
from api_schemas.queries import Box

AZIMUTH_BINS = 8
_FINITE = Field(allow_inf_nan=False)

CategoryName = Annotated[Text, Field(min_length=1, max_length=80)]
PoseLabel = Annotated[Text, Field(min_length=1, max_length=40)]
Split = Literal["train", "val", "test"]
AnnotatedKeypoint = tuple[Annotated[float, _FINITE], Annotated[float, _FINITE], Annotated[int, Field(ge=0, le=2)]]


class ImageAnnotation(Schema):
    """What is known of one image; coordinates are pixels of the upload, as everywhere."""

    category: CategoryName | None = Field(
        default=None, description="One of `categories`; may be left out where there is only one."
    )
    keypoints: list[AnnotatedKeypoint] = Field(
        default=[],
        max_length=MAX_KEYPOINTS,
        description="[x, y, visible] in the order of the category's names; visible is 0 where the keypoint is not "
        "known, else 1 or 2. Empty where none is known.",
    )
    box: Box | None = Field(default=None, description="[x0, y0, x1, y1] of the object; else the whole image counts.")
    azimuth: int | None = Field(
        default=None, ge=0, lt=AZIMUTH_BINS, description="Side from which the object is seen, in eighths of a turn."
    )
    pose: PoseLabel | None = Field(
        default=None, description="What its pose is called, such as `left`; makes the image a template of that pose."
    )
    split: Split | None = Field(
        default=None, description="Whether a training may learn from it; left out: chosen by the training."
    )

    @model_validator(mode="after")
    def _box_has_area(self) -> Self:
        if self.box is not None and not (self.box[0] < self.box[2] and self.box[1] < self.box[3]):
            raise ValueError(f"box {list(self.box)} has no area; give [x0, y0, x1, y1] with x0 < x1 and y0 < y1")
        return self

    @property
    def visible(self) -> list[int]:
        """Keypoints that are known."""
        return [index for index, (_, _, visible) in enumerate(self.keypoints) if visible > 0]


class Annotations(Schema):
    """What is known of the images of a job."""

    categories: dict[CategoryName, GivenSchema] = Field(
        default={},
        max_length=100,
        description="The keypoints of each kind of object: names with what is known of them, or the name of a table "
        "that comes along: `ap10k`, `spair71k/car` and the other 17 of SPair-71k.",
    )
    images: dict[Text, ImageAnnotation] = Field(
        min_length=1,
        max_length=MAX_SET_IMAGES,
        description="By id of the image, or by the name of its file where no two images share it.",
    )

    @model_validator(mode="after")
    def _categories_known(self) -> Self:
        for name, image in self.images.items():
            if image.category is not None and image.category not in self.categories:
                known = ", ".join(map(repr, self.categories)) or "none"
                raise ValueError(f"images/{name}: category {image.category!r} is not in categories ({known})")
            if image.category is None and image.keypoints and len(self.categories) != 1:
                raise ValueError(f"images/{name}: keypoints need a category; there are {len(self.categories)}")
        return self
