"""Known cameras to score found poses with."""

import math
from typing import Annotated, Literal, Self

from pydantic import AfterValidator, Field, model_validator

from api_schemas.base import ImageId, Schema

MAX_SYMMETRIES = 24
TOLERANCE = 1e-3
"""How far a rotation's rows may be from unit length and right angles."""

PoseAlignment = Literal["rotation", "barf"]
Number = Annotated[float, Field(allow_inf_nan=False)]
Row3 = tuple[Number, Number, Number]
Row4 = tuple[Number, Number, Number, Number]


def _checked_rotation(rows: tuple[Row3, Row3, Row3]) -> tuple[Row3, Row3, Row3]:
    fault = _rotation_fault(rows)
    if fault:
        raise ValueError(f"it is no rotation: {fault}; give a rotation matrix 3x3, row by row")
    return rows


def _checked_pose(rows: tuple[Row4, Row4, Row4, Row4]) -> tuple[Row4, Row4, Row4, Row4]:
    if any(abs(given - wanted) > TOLERANCE for given, wanted in zip(rows[3], (0, 0, 0, 1), strict=True)):
        raise ValueError(f"its last row must be 0 0 0 1, got {list(rows[3])}; is it transposed?")
    first, second, third = ((row[0], row[1], row[2]) for row in rows[:3])
    fault = _rotation_fault((first, second, third))
    if fault:
        raise ValueError(f"its upper left 3x3 is no rotation: {fault}; take scale and mirroring out of it")
    return rows


def _rotation_fault(rows: tuple[Row3, Row3, Row3]) -> str | None:
    for first in range(3):
        for second in range(first, 3):
            product = sum(a * b for a, b in zip(rows[first], rows[second], strict=True))
            if abs(product - (first == second)) > TOLERANCE:
                what = f"row {first} has length {math.sqrt(product):g}" if first == second else "rows are not at right"
                return what if first == second else f"{what} angles"
    (a, b, c), (d, e, f), (g, h, i) = rows
    determinant = a * (e * i - f * h) - b * (d * i - f * g) + c * (d * h - e * g)
    return "it mirrors" if determinant < 0 else None


Rotation = Annotated[tuple[Row3, Row3, Row3], AfterValidator(_checked_rotation)]
Pose = Annotated[tuple[Row4, Row4, Row4, Row4], AfterValidator(_checked_pose)]


class KnownCamera(Schema):
    """Where a picture was taken from; exactly one of the matrices is given, row by row."""

    camera_to_world: Pose | None = Field(
        default=None, description="4x4 with OpenGL axes: x right, y up, looking along -z."
    )
    fov_deg: float | None = Field(
        default=None, gt=0, lt=180, description="Vertical field of view, if known; the errors do not depend on it."
    )
    world_to_camera: Pose | None = Field(
        default=None, description="4x4 with OpenCV axes: x right, y down, looking along +z."
    )

    @model_validator(mode="after")
    def _check_one(self) -> Self:
        if (self.camera_to_world is None) == (self.world_to_camera is None):
            raise ValueError("give exactly one of camera_to_world (OpenGL axes) and world_to_camera (OpenCV axes)")
        return self


class PoseEvaluationRequest(Schema):
    """Known cameras, in any frame and unit of length of their own, the same for all."""

    cameras: dict[ImageId, KnownCamera] = Field(min_length=2)
    alignment: PoseAlignment = Field(
        default="rotation",
        description="How the frame of the found poses is brought onto that of the known ones. `rotation`: by the mean "
        "of the cameras' rotations; `barf`: by the cameras' places, as in arXiv 2104.06405, for which at least three "
        "images need a found pose.",
    )
    symmetries: list[Rotation] | None = Field(
        default=None,
        min_length=1,
        max_length=MAX_SYMMETRIES,
        description="Rotations 3x3 about the origin of the known cameras' frame that leave the object as it looks; "
        "each pose is compared with the nearest of those that look the same.",
    )


class PoseAccuracyRow(Schema):
    """Share of the images, those without a found pose included, whose rotation is at most so far off."""

    within_deg: float
    share: float


class PoseErrorRow(Schema):
    """How far the pose of one image is off; null where no pose was found."""

    image: ImageId
    rotation_deg: float | None = Field(description="Angle in [0, 180] between the found and the known rotation.")
    translation: float | None = Field(description="In RMS distances of the known cameras from what they look at.")


class PoseSimilarity(Schema):
    """X -> scale * rotation @ X + translation."""

    scale: float
    rotation: tuple[Row3, Row3, Row3]
    translation: Row3


class PoseEvaluationResponse(Schema):
    """Errors of the found poses after one alignment of both frames; means and medians are over those found."""

    alignment: PoseAlignment
    images: int = Field(description="Those with a known camera.")
    missing: int = Field(description="Those of them without a found pose.")
    mean_rotation_deg: float
    median_rotation_deg: float
    mean_translation: float
    median_translation: float
    accuracy: list[PoseAccuracyRow]
    errors: list[PoseErrorRow] = Field(description="In the order of the job's images.")
    to_known: PoseSimilarity = Field(description="From the canonical frame to that of the known cameras.")
