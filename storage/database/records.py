"""Frozen copies of rows: what repositories take and give, free of any session."""

from dataclasses import dataclass, field
from datetime import UTC, datetime

from pydantic import JsonValue

from api_schemas.jobs import JobState, Priority


def utc_now() -> datetime:
    """Return the present, aware, in UTC."""
    return datetime.now(UTC)


@dataclass(frozen=True, kw_only=True)
class NewImage:
    """An upload that has been checked, normalised and stored."""

    name: str
    width: int
    height: int
    media_type: str
    bytes: int
    """Size of the stored content."""
    sha256: str
    """Digest of the stored content."""
    upload_sha256: str
    """Digest of what the client sent; the same upload is stored once."""
    blob_key: str


@dataclass(frozen=True, kw_only=True)
class ImageRecord(NewImage):
    """A stored image."""

    id: str
    created_at: datetime


@dataclass(frozen=True, kw_only=True)
class NewMesh:
    """An upload that has been read, cleaned and stored."""

    name: str
    vertices: int
    faces: int
    uploaded_faces: int
    colours: str
    """`texture`, `vertex` or `none`."""
    is_watertight: bool
    bounds: list[list[float]]
    """(2, 3): least and greatest x, y, z."""
    warnings: list[str]
    bytes: int
    """Size of the stored GLB."""
    sha256: str
    """Digest of the stored GLB."""
    fingerprint: str
    """Digest of what the client sent and of the limits it was read under; the same is stored once."""
    blob_key: str


@dataclass(frozen=True, kw_only=True)
class MeshRecord(NewMesh):
    """A stored mesh."""

    id: str
    created_at: datetime


@dataclass(frozen=True, kw_only=True)
class ImageSetRecord:
    """Images with an order."""

    id: str
    name: str | None
    image_ids: tuple[str, ...]
    created_at: datetime


@dataclass(frozen=True, kw_only=True)
class NewJob:
    """A job to be queued; everything in it is already resolved and checked."""

    method: str
    method_version: str
    lane: str
    image_set_id: str
    params: dict[str, JsonValue]
    seed: int
    deadline_at: datetime
    max_attempts: int
    priority: Priority = Priority.NORMAL
    name: str | None = None
    labels: dict[str, str] = field(default_factory=dict)
    masks: dict[str, str] | None = None
    """Of an image's id its mask's image id; of a job that extends another only for the new images."""
    extends: str | None = None
    """The succeeded job to whose result the images are added; they follow its own in the set."""
    uses: dict[str, str] | None = None
    """Ids of the succeeded jobs whose results the method works with, by the parameter that names them."""
    meshes: dict[str, str] | None = None
    """Ids of the meshes that the method works with, by the parameter that names them."""


@dataclass(frozen=True, kw_only=True)
class JobRecord(NewJob):
    """A job's row."""

    id: str
    state: JobState
    stage: str | None
    progress_fraction: float | None
    progress_step: int | None
    progress_total: int | None
    progress_metrics: dict[str, float]
    attempt: int
    fence: int
    """Number of claims ever made; a write by a worker holds only under the fence it was given."""
    lease_until: datetime | None
    worker: str | None
    created_at: datetime
    started_at: datetime | None
    heartbeat_at: datetime | None
    finished_at: datetime | None
    cancel_requested_at: datetime | None
    woken_at: datetime | None
    checkpoint_key: str | None
    manifest_key: str | None
    error: dict[str, JsonValue] | None
    metrics: dict[str, JsonValue]
    self_check: dict[str, JsonValue] | None
    revision: int
    last_seq: int


@dataclass(frozen=True, kw_only=True)
class NewEdit:
    """An edit whose pictures are stored."""

    id: str
    job_id: str
    fingerprint: str
    """Digest of the layer and the specification; the same edit is kept once."""
    layer_sha256: str
    """Digest of the layer as it was sent."""
    spec: dict[str, JsonValue]
    results: list[JsonValue]


@dataclass(frozen=True, kw_only=True)
class EditRecord(NewEdit):
    """An edit of a job's result."""

    created_at: datetime


@dataclass(frozen=True, kw_only=True)
class Control:
    """What a worker must know about its job while it runs it."""

    cancel_requested: bool
    deadline_passed: bool


@dataclass(frozen=True, kw_only=True)
class IdempotencyRecord:
    """A request that was seen before under the same key."""

    key: str
    fingerprint: str
    created_at: datetime
    status: int | None
    """HTTP status of the stored answer; None while the first request is still at work."""
    body: JsonValue
    location: str | None


@dataclass(frozen=True, kw_only=True)
class WorkerRecord:
    """A worker that has said that it is ready."""

    id: str
    lanes: list[str]
    device: str
    backbones: list[str]
    weights: list[str]
    """Entries of the weights catalogue that it has at hand."""
    started_at: datetime
    seen_at: datetime
