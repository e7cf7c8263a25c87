"""Jobs: one method run on one image set with parameters."""

from enum import StrEnum
from typing import Annotated, Literal, Self

from pydantic import Field, JsonValue, model_validator

from api_schemas.annotations.given import AnnotationsInput
from api_schemas.annotations.model import Annotations
from api_schemas.base import DistinctImageIds, ImageId, ImageSetId, JobId, Schema, Sha256, Text, Timestamp
from api_schemas.image_sets import MAX_SET_IMAGES

MAX_LABELS = 16


class JobState(StrEnum):
    """Where a job stands; the last four are terminal and never change."""

    QUEUED = "queued"
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELED = "canceled"
    EXPIRED = "expired"

    @property
    def is_terminal(self) -> bool:
        """Tell whether the state is final."""
        return self not in (JobState.QUEUED, JobState.RUNNING)


class Priority(StrEnum):
    """Order in the queue; within a priority the oldest job goes first."""

    HIGH = "high"
    NORMAL = "normal"
    LOW = "low"


Label = Annotated[Text, Field(max_length=512)]
LabelName = Annotated[str, Field(pattern=r"^[A-Za-z0-9._/-]{1,64}$")]


class JobOptions(Schema):
    """What a submission says beside its images; also the `spec` part of a one-shot multipart submission."""

    method: str = Field(min_length=1, max_length=64, description="Method id, as listed by GET /v1/methods.")
    params: dict[str, JsonValue] = Field(
        default_factory=dict, description="Parameters of the method; omitted ones take their defaults."
    )
    seed: int = Field(default=0, ge=0, le=2**31 - 1, description="Same seed, same device: same result.")
    priority: Priority = Priority.NORMAL
    name: Text | None = Field(default=None, max_length=200)
    labels: dict[LabelName, Label] = Field(default_factory=dict, max_length=MAX_LABELS)
    deadline_s: int = Field(
        default=24 * 3600,
        ge=1,
        le=7 * 24 * 3600,
        description="Seconds from submission after which the job is given up.",
    )
    extends: JobId | None = Field(
        default=None,
        description="A succeeded job of the same method to whose result the images are added; its own images stay as "
        "they are. The job takes over its parameters.",
    )
    annotations: AnnotationsInput | None = Field(
        default=None, description="What is known of the images: keypoints, boxes, views. A COCO keypoints file is one."
    )


class JobCreate(JobOptions):
    """Submission of a job on images that are already uploaded: give `image_set_id` or `image_ids`."""

    image_set_id: ImageSetId | None = None
    image_ids: Annotated[DistinctImageIds, Field(min_length=1, max_length=MAX_SET_IMAGES)] | None = None
    masks: dict[ImageId, ImageId] | None = Field(
        default=None,
        min_length=1,
        max_length=MAX_SET_IMAGES,
        description="For every image the id of an uploaded picture of the same size, white where the object is, black "
        "elsewhere.",
    )

    @model_validator(mode="after")
    def _one_source(self) -> Self:
        if (self.image_set_id is None) == (self.image_ids is None):
            raise ValueError("give either image_set_id or image_ids, and not both")
        return self


class Progress(Schema):
    """How far a running job is."""

    fraction: float = Field(ge=0, le=1, description="Share of the whole job that is done.")
    step: int = Field(ge=0, description="Steps done in this stage.")
    total: int = Field(ge=0, description="Steps of this stage.")
    metrics: dict[str, float] = Field(default_factory=dict)


class Queue(Schema):
    """Place of a queued job."""

    lane: str
    position: int = Field(ge=1, description="1 = next to be claimed.")


class JobImage(Schema):
    """An input image as the job sees it."""

    index: int = Field(ge=0)
    id: ImageId
    sha256: Sha256
    name: str
    width: int
    height: int
    mask_id: ImageId | None = Field(default=None, description="The uploaded picture that is its mask.")


class JobInputs(Schema):
    """What the job works on."""

    image_set_id: ImageSetId
    images: list[JobImage] = Field(description="All images; of a job that extends another, those of that job first.")
    extends: JobId | None = Field(default=None, description="The job whose result is extended.")


class JobError(Schema):
    """Why a job failed."""

    code: str
    title: str
    detail: str
    retryable: bool = Field(description="True when the same job may succeed if submitted again.")


class JobLinks(Schema):
    """Every address of the job; clients need not build URLs."""

    self: str
    cancel: str
    events: str
    artifacts: str
    transfer: str
    evaluations: str
    lift: str
    project: str
    pose_evaluations: str
    edits: str
    annotations: str


class Job(Schema):
    """A job, as every answer about it shows it."""

    id: JobId
    object: Literal["job"] = "job"
    method: str
    method_version: str
    state: JobState
    stage: str | None = Field(description="What a running job is doing.")
    progress: Progress | None
    queue: Queue | None
    attempt: int = Field(ge=0, description="Claims so far; more than 1 after a worker was lost.")
    max_attempts: int
    params: dict[str, JsonValue] = Field(description="All parameters, resolved.")
    inputs: JobInputs
    seed: int
    priority: Priority
    name: str | None
    labels: dict[str, str]
    created_at: Timestamp
    started_at: Timestamp | None
    heartbeat_at: Timestamp | None
    finished_at: Timestamp | None
    deadline_at: Timestamp
    cancel_requested_at: Timestamp | None
    error: JobError | None
    metrics: dict[str, JsonValue] = Field(
        description="Seconds per stage, CPU seconds, peak memory; empty until the job has finished."
    )
    self_check: dict[str, JsonValue] | None = Field(description="Summary of the self-check, once succeeded.")
    revision: int = Field(ge=1, description="Grows with every change; also the ETag.")
    links: JobLinks


class CancelRequest(Schema):
    """Optional body of a cancel."""

    reason: Text | None = Field(default=None, max_length=500)


class JobValidation(Schema):
    """What a submission would become; nothing was created."""

    method: str
    method_version: str
    params: dict[str, JsonValue] = Field(description="All parameters, resolved.")
    images: int
    work_tflop: float | None = Field(
        description="Work that the job is estimated to cost, in 10^12 operations; null where the method does not know."
    )
    annotations: Annotations | None = Field(
        description="What is known of the images, by their ids, with everything that was told from names filled in: "
        "look at `mirror_pairs` and `groups` before submitting."
    )
