"""Edits: paint on the atlas or on one image, laid over all images of a finished job."""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from api_schemas.base import ULID_PATTERN, DistinctImageIds, ImageId, JobId, Schema, Sha256, Text, Timestamp

EditId = Annotated[str, Field(pattern=rf"^edt_{ULID_PATTERN}$", examples=["edt_01k8zd6c2q4x7v9m3n5p8r0s1t"])]
EditSpace = Literal["atlas", "image"]
EditBlend = Literal["over", "multiply", "screen"]
EditPart = Literal["layer", "composite"]


class EditSpec(Schema):
    """What to do with a painted layer."""

    space: EditSpace = Field(
        description="What the layer covers: the whole `atlas` (the layer is square; for a shape it is the mesh's "
        "texture), or one whole `image`."
    )
    image: ImageId | None = Field(default=None, description="The image that was painted on, for space `image`.")
    targets: Annotated[DistinctImageIds, Field(min_length=1)] | None = Field(
        default=None, description="Images that get the paint; all of the job when left out."
    )
    blend: EditBlend = Field(
        default="over", description="How the composites show the paint: as it is, darkening, or lightening."
    )
    opacity: float = Field(default=1.0, gt=0, le=1, description="Multiplies the paint's alpha.")
    saliency: bool = Field(default=False, description="Multiply the paint's alpha by the map's confidence.")
    max_side: int = Field(
        default=1024, ge=64, le=4096, description="Longest side of the results in pixels; never above the image's own."
    )
    name: Text | None = Field(default=None, max_length=200)

    @model_validator(mode="after")
    def _check_image(self) -> Self:
        if self.space == "image" and self.image is None:
            raise ValueError("space 'image' needs the id of the image that was painted on, as `image`")
        if self.space == "atlas" and self.image is not None:
            raise ValueError("space 'atlas' takes no `image`; leave it out, or take space 'image'")
        return self


class EditPicture(Schema):
    """A stored PNG of an edit."""

    href: str
    bytes: int = Field(ge=1)
    sha256: Sha256


class EditResult(Schema):
    """The edit on one image."""

    index: int = Field(ge=0, description="Place of the image in the job's set.")
    image: ImageId
    width: int
    height: int
    coverage: float = Field(ge=0, le=1, description="Share of the pixels that have any paint.")
    layer: EditPicture = Field(description="The paint alone: RGBA with straight alpha.")
    composite: EditPicture = Field(description="The paint over the image.")


class EditLinks(Schema):
    """Where to go from an edit."""

    self: str
    job: str


class Edit(Schema):
    """A layer of paint, carried to the images of a job."""

    id: EditId
    object: Literal["edit"] = "edit"
    job_id: JobId
    created_at: Timestamp
    layer_sha256: Sha256
    spec: EditSpec = Field(description="As it was asked for, with all targets named.")
    results: list[EditResult] = Field(description="In the order of the set.")
    links: EditLinks
