"""Queries: questions to a finished job."""

from typing import Annotated, Literal

from pydantic import Field

from api_schemas.base import ImageId, Point, Schema
from api_schemas.keypoints.schema import MAX_KEYPOINTS, GivenSchema

MAX_POINTS = 10_000

Coordinates = Literal["pixel", "normalized"]
Keypoint = tuple[
    Annotated[float, Field(allow_inf_nan=False)],
    Annotated[float, Field(allow_inf_nan=False)],
    Annotated[int, Field(ge=0, le=1)],
]
Box = tuple[
    Annotated[float, Field(allow_inf_nan=False)],
    Annotated[float, Field(allow_inf_nan=False)],
    Annotated[float, Field(allow_inf_nan=False)],
    Annotated[float, Field(allow_inf_nan=False)],
]

Azimuth = Annotated[int, Field(ge=0, le=7)]
Number = Annotated[float, Field(allow_inf_nan=False)]
Place = tuple[Number, Number, Number]


class TransferRequest(Schema):
    """Points of one image (or of the atlas) to be carried to others."""

    source: ImageId | Literal["atlas"] = Field(
        description="Where the points lie; `atlas` only for results with an atlas: of form `shape` it is the mesh's "
        "texture, x right, y down."
    )
    points: list[Point] = Field(min_length=1, max_length=MAX_POINTS)
    targets: list[ImageId | Literal["atlas"]] | None = Field(
        default=None, min_length=1, description="Images to carry to; all other images when left out."
    )
    coords: Coordinates = Field(
        default="pixel",
        description="`pixel`: of the upload; `normalized`: shares of its sides. Atlas points always lie in [0, 1].",
    )


class TransferredPoints(Schema):
    """The points in one target, in the order of the request."""

    target: ImageId | Literal["atlas"]
    points: list[Point | None] = Field(
        description="null where the result holds no correspondence. Where it holds places of queried points only, a "
        "point takes that of the nearest one within a hundredth of the source's longer side."
    )
    confidence: list[float] = Field(description="In [0, 1]; 0 where there is no correspondence.")
    inside: list[bool] = Field(description="Whether the point lies within the target's frame.")


class TransferResponse(Schema):
    """Points carried to every target."""

    coords: Coordinates
    targets: list[TransferredPoints]


class LiftRequest(Schema):
    """Points of one image whose places on the shape are wanted; for results of form `shape`."""

    image: ImageId | Literal["atlas"] = Field(description="Where the points lie; `atlas` is the mesh's texture.")
    points: list[Point] = Field(min_length=1, max_length=MAX_POINTS)
    coords: Coordinates = Field(
        default="pixel",
        description="`pixel`: of the upload; `normalized`: shares of its sides. Atlas points always lie in [0, 1].",
    )


class LiftResponse(Schema):
    """Places on the shape, in the order of the request."""

    points: list[Place | None] = Field(
        description="[x, y, z] in the canonical frame (right-handed, y up, the shape within [-0.5, 0.5]^3); null where "
        "the image shows nothing of the shape."
    )
    confidence: list[float] = Field(description="In [0, 1]; 0 where there is no place.")


class ProjectRequest(Schema):
    """Places of the canonical frame that are looked for in images; for results of form `shape`."""

    points: list[Place] = Field(
        min_length=1, max_length=MAX_POINTS, description="[x, y, z] in the canonical frame, y up."
    )
    targets: list[ImageId | Literal["atlas"]] | None = Field(
        default=None, min_length=1, description="Images to look in; all of the job when left out."
    )
    coords: Coordinates = Field(default="pixel", description="Of the answer; atlas points always lie in [0, 1].")


class ProjectedPoints(Schema):
    """The places in one target, in the order of the request."""

    target: ImageId | Literal["atlas"]
    points: list[Point | None] = Field(
        description="Where the image shows the place, or would if nothing hid it; null where no camera tells."
    )
    confidence: list[float] = Field(description="In [0, 1]; 0 where not visible.")
    visible: list[bool] = Field(description="Whether the image shows the place.")
    inside: list[bool] = Field(description="Whether the point lies within the target's frame.")


class ProjectResponse(Schema):
    """Places looked for in every target."""

    coords: Coordinates
    targets: list[ProjectedPoints]


class EvaluationRequest(Schema):
    """Known keypoints to score a result with: percentage of correct keypoints (PCK)."""

    keypoints: dict[ImageId, Annotated[list[Keypoint], Field(min_length=1, max_length=MAX_KEYPOINTS)]] = Field(
        min_length=2,
        description="Per image [[x, y, visible], …] in pixels; the same keypoints in the same order everywhere.",
    )
    boxes: dict[ImageId, Box] | None = Field(
        default=None, description="Per image [x0, y0, x1, y1] in pixels; needed for threshold `bbox`."
    )
    threshold: Literal["bbox", "image"] = Field(
        default="bbox",
        description="alpha is a share of the longer side of the target's box, or of the target image.",
    )
    alphas: list[Annotated[float, Field(gt=0, le=1)]] = Field(default=[0.1, 0.05, 0.01], min_length=1, max_length=20)
    cycles: list[Literal[2, 3, 4]] = Field(
        default=[],
        max_length=3,
        description="Lengths k of cycles to score too (k-cycle PCK): keypoints are carried through k images and back.",
    )
    keypoint_schema: GivenSchema | None = Field(
        default=None,
        description="What the keypoints are: names with what is known of them, or the name of a table that comes "
        "along, such as `ap10k` or `spair71k/car`. Adds the figures for those that only their place tells apart.",
    )
    azimuths: dict[ImageId, Azimuth] | None = Field(
        default=None,
        description="Per image with keypoints the side from which the object is seen, in eighths of a turn. Adds the "
        "figures by change of viewpoint.",
    )


class PckRow(Schema):
    """PCK at one alpha; shares in [0, 1]."""

    alpha: float
    per_point: float = Field(description="Share of correct keypoints over all pairs and keypoints.")
    per_pair: float = Field(description="Mean over image pairs of the share of correct keypoints.")
    identity: float = Field(
        description="per_point of the identity baseline: the same relative place in the target image."
    )


class CyclePckRow(Schema):
    """k-cycle PCK at one alpha; shares in [0, 1]."""

    alpha: float
    returned: float = Field(description="Share of keypoints that come back to where they began.")
    pooled: float = Field(description="Share of stops on the way that are right, the last one included.")


class CyclePck(Schema):
    """Keypoints carried around cycles of `length` images; high for maps that move nothing, so read it beside PCK."""

    length: int
    cycles: int = Field(description="All there are, or as many as were drawn.")
    points: int = Field(description="Keypoints visible in all images of their cycle, and looked for in each.")
    pck: list[CyclePckRow]


class GeometryAwareRow(Schema):
    """PCK at one alpha over the geometry-aware keypoints; shares in [0, 1]."""

    alpha: float
    per_point: float
    per_pair: float = Field(description="Mean over the image pairs that have such a keypoint.")


class GeometryAwarePck(Schema):
    """PCK over the keypoints that only their place tells apart: of a group with two or more visible in the target.

    The definition is that of arXiv 2311.17034.
    """

    pairs: int
    points: int
    pck: list[GeometryAwareRow]


class MirroredRow(Schema):
    """Where the keypoints that have a visible mirror partner in the target landed; shares in [0, 1]."""

    alpha: float
    per_point: float = Field(description="On the place of the partner: PCK if left and right were exchanged.")
    own: float = Field(description="On their own place. A point may do both where the two are close.")


class AzimuthRow(Schema):
    """PCK over the image pairs whose views lie `gap` eighths of a turn apart."""

    gap: int = Field(ge=0, le=4)
    pairs: int
    points: int
    per_point: list[float] | None = Field(description="At each alpha asked for; null where there are no points.")


class EvaluationResponse(Schema):
    """PCK over the ordered pairs of the given images; what the result was never asked for is left out.

    That is, pairs of which it has neither a map nor points, and where it has points only, keypoints near none of them.
    """

    pairs: int
    points: int
    missing: int = Field(description="Keypoints that were looked for and not found; counted as wrong.")
    median_error_px: float | None
    pck: list[PckRow]
    cycles: list[CyclePck] = Field(default=[], description="In the order asked for.")
    geometry_aware: GeometryAwarePck | None = Field(
        default=None, description="null without `keypoint_schema`, or where it has no groups of like keypoints."
    )
    mirrored: list[MirroredRow] | None = Field(
        default=None, description="null without `keypoint_schema`, or where no keypoint has a visible mirror partner."
    )
    azimuth_bins: list[AzimuthRow] | None = Field(
        default=None, description="Gaps 0 to 4; null without `azimuths`, or points."
    )
