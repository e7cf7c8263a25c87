"""Tables, alike on SQLite and PostgreSQL."""

from datetime import UTC, datetime
from enum import StrEnum
from typing import Any

from pydantic import JsonValue
from sqlalchemy import (
    JSON,
    BigInteger,
    CheckConstraint,
    DateTime,
    Dialect,
    Enum,
    ForeignKey,
    Index,
    MetaData,
    SmallInteger,
    String,
    Text,
    TypeDecorator,
    UniqueConstraint,
)
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from api_schemas.events import EventType
from api_schemas.jobs import JobState

NAMING = {
    "ix": "ix_%(table_name)s_%(column_0_N_name)s",
    "uq": "uq_%(table_name)s_%(column_0_N_name)s",
    "ck": "ck_%(table_name)s_%(constraint_name)s",
    "fk": "fk_%(table_name)s_%(column_0_N_name)s_%(referred_table_name)s",
    "pk": "pk_%(table_name)s",
}
ID = String(40)
DIGEST = String(64)
KEY = String(512)


class UtcDateTime(TypeDecorator[datetime]):
    """A moment in UTC: aware on both sides, whatever the engine keeps."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        """Refuse naive times: they mean something else on every machine."""
        if value is None:
            return None
        if value.tzinfo is None:
            raise ValueError(f"{value.isoformat()} has no time zone; store aware UTC times")
        return value.astimezone(UTC).replace(tzinfo=None if dialect.name == "sqlite" else UTC)

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        """Give back an aware UTC time."""
        del dialect
        if value is None:
            return None
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)


def text_enum(kind: type[StrEnum], name: str) -> Enum:
    """Return a text column type that holds the enum's values under a CHECK."""
    return Enum(
        kind,
        name=name,
        native_enum=False,
        create_constraint=True,
        length=32,
        values_callable=lambda members: [member.value for member in members],
    )


class Base(DeclarativeBase):
    """Base of all tables."""

    metadata = MetaData(naming_convention=NAMING)
    type_annotation_map = {  # noqa: RUF012 - SQLAlchemy's own declaration
        datetime: UtcDateTime(),
        str: Text(),
        dict[str, Any]: JSON(none_as_null=True),
        list[Any]: JSON(none_as_null=True),
    }


class ImageRow(Base):
    """A stored image; `upload_sha256` makes the same upload one row."""

    __tablename__ = "images"

    id: Mapped[str] = mapped_column(ID, primary_key=True)
    name: Mapped[str]
    width: Mapped[int]
    height: Mapped[int]
    media_type: Mapped[str] = mapped_column(String(64))
    bytes: Mapped[int] = mapped_column(BigInteger)
    sha256: Mapped[str] = mapped_column(DIGEST, index=True)
    upload_sha256: Mapped[str] = mapped_column(DIGEST, unique=True)
    blob_key: Mapped[str] = mapped_column(KEY)
    created_at: Mapped[datetime]

    __table_args__ = (CheckConstraint("width > 0 AND height > 0 AND bytes > 0", name="size"),)


class MeshRow(Base):
    """A stored mesh; `fingerprint` makes the same upload, read under the same limits, one row."""

    __tablename__ = "meshes"

    id: Mapped[str] = mapped_column(ID, primary_key=True)
    name: Mapped[str]
    vertices: Mapped[int]
    faces: Mapped[int]
    uploaded_faces: Mapped[int]
    colours: Mapped[str] = mapped_column(String(16))
    is_watertight: Mapped[bool]
    bounds: Mapped[list[Any]]
    warnings: Mapped[list[Any]]
    bytes: Mapped[int] = mapped_column(BigInteger)
    sha256: Mapped[str] = mapped_column(DIGEST)
    fingerprint: Mapped[str] = mapped_column(DIGEST, unique=True)
    blob_key: Mapped[str] = mapped_column(KEY)
    created_at: Mapped[datetime]

    __table_args__ = (
        CheckConstraint("vertices > 0 AND faces > 0 AND bytes > 0", name="size"),
        Index(None, "created_at", "id"),
    )


class ImageSetRow(Base):
    """A set; its images are in `image_set_items`."""

    __tablename__ = "image_sets"

    id: Mapped[str] = mapped_column(ID, primary_key=True)
    name: Mapped[str | None]
    created_at: Mapped[datetime]

    __table_args__ = (Index(None, "created_at", "id"),)


class ImageSetItemRow(Base):
    """One image of a set, at its place."""

    __tablename__ = "image_set_items"

    image_set_id: Mapped[str] = mapped_column(ID, ForeignKey("image_sets.id", ondelete="CASCADE"), primary_key=True)
    position: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    image_id: Mapped[str] = mapped_column(ID, ForeignKey("images.id"), index=True)


class JobRow(Base):
    """A job: the row is the truth, messages only wake workers."""

    __tablename__ = "jobs"

    id: Mapped[str] = mapped_column(ID, primary_key=True)
    method: Mapped[str] = mapped_column(String(64))
    method_version: Mapped[str] = mapped_column(String(64))
    lane: Mapped[str] = mapped_column(String(64))
    image_set_id: Mapped[str] = mapped_column(ID, ForeignKey("image_sets.id"))
    params: Mapped[dict[str, Any]]
    seed: Mapped[int] = mapped_column(BigInteger)
    priority: Mapped[int] = mapped_column(SmallInteger)
    name: Mapped[str | None]
    labels: Mapped[dict[str, Any]]
    max_attempts: Mapped[int]
    deadline_at: Mapped[datetime]
    created_at: Mapped[datetime]

    state: Mapped[JobState] = mapped_column(text_enum(JobState, "state"))
    stage: Mapped[str | None]
    progress_fraction: Mapped[float | None]
    progress_step: Mapped[int | None]
    progress_total: Mapped[int | None]
    progress_metrics: Mapped[dict[str, Any]]
    attempt: Mapped[int]
    fence: Mapped[int]
    lease_until: Mapped[datetime | None]
    worker: Mapped[str | None]
    started_at: Mapped[datetime | None]
    heartbeat_at: Mapped[datetime | None]
    finished_at: Mapped[datetime | None]
    cancel_requested_at: Mapped[datetime | None]
    woken_at: Mapped[datetime | None]
    checkpoint_key: Mapped[str | None] = mapped_column(KEY)
    manifest_key: Mapped[str | None] = mapped_column(KEY)
    error: Mapped[dict[str, Any] | None]
    metrics: Mapped[dict[str, Any]]
    self_check: Mapped[dict[str, Any] | None]
    revision: Mapped[int]
    last_seq: Mapped[int]
    masks: Mapped[dict[str, Any] | None]
    extends: Mapped[str | None] = mapped_column(ID, ForeignKey("jobs.id"))
    uses: Mapped[dict[str, Any] | None]
    # Read by itself: it may be long, and lists of jobs do not show it.
    annotations: Mapped[dict[str, Any] | None] = mapped_column(deferred=True)
    meshes: Mapped[dict[str, Any] | None]

    __table_args__ = (
        CheckConstraint("state <> 'running' OR (lease_until IS NOT NULL AND worker IS NOT NULL)", name="lease"),
        CheckConstraint("(finished_at IS NULL) = (state IN ('queued', 'running'))", name="finished"),
        CheckConstraint("state <> 'succeeded' OR manifest_key IS NOT NULL", name="manifest"),
        CheckConstraint("state <> 'failed' OR error IS NOT NULL", name="error"),
        Index("ix_jobs_claim", "state", "lane", "priority", "created_at", "id"),
        Index("ix_jobs_lease", "state", "lease_until"),
        Index(None, "created_at", "id"),
        Index(None, "image_set_id", "created_at"),
    )


class JobEventRow(Base):
    """One entry of a job's log."""

    __tablename__ = "job_events"

    job_id: Mapped[str] = mapped_column(ID, ForeignKey("jobs.id", ondelete="CASCADE"), primary_key=True)
    seq: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    at: Mapped[datetime]
    type: Mapped[EventType] = mapped_column(text_enum(EventType, "type"))
    data: Mapped[dict[str, Any]]


class ArtifactRow(Base):
    """A file of a succeeded job."""

    __tablename__ = "artifacts"

    job_id: Mapped[str] = mapped_column(ID, ForeignKey("jobs.id", ondelete="CASCADE"), primary_key=True)
    name: Mapped[str] = mapped_column(String(120), primary_key=True)
    position: Mapped[int]
    kind: Mapped[str] = mapped_column(String(32))
    media_type: Mapped[str] = mapped_column(String(128))
    bytes: Mapped[int] = mapped_column(BigInteger)
    sha256: Mapped[str] = mapped_column(DIGEST)
    images: Mapped[list[Any]]
    tensors: Mapped[list[Any]]


class EditRow(Base):
    """An edit of a job's result; `fingerprint` makes the same layer and specification one row."""

    __tablename__ = "edits"

    id: Mapped[str] = mapped_column(ID, primary_key=True)
    job_id: Mapped[str] = mapped_column(ID, ForeignKey("jobs.id", ondelete="CASCADE"))
    fingerprint: Mapped[str] = mapped_column(DIGEST)
    layer_sha256: Mapped[str] = mapped_column(DIGEST)
    spec: Mapped[dict[str, Any]]
    results: Mapped[list[Any]]
    created_at: Mapped[datetime]

    __table_args__ = (UniqueConstraint("job_id", "fingerprint"), Index(None, "job_id", "created_at", "id"))


class IdempotencyKeyRow(Base):
    """A request that may be sent again, and its answer."""

    __tablename__ = "idempotency_keys"

    key: Mapped[str] = mapped_column(KEY, primary_key=True)
    fingerprint: Mapped[str] = mapped_column(String(128))
    created_at: Mapped[datetime] = mapped_column(index=True)
    status: Mapped[int | None] = mapped_column(SmallInteger)
    body: Mapped[JsonValue] = mapped_column(JSON(none_as_null=True), nullable=True)
    location: Mapped[str | None]


class WorkerRow(Base):
    """A worker that is, or was, ready."""

    __tablename__ = "workers"

    id: Mapped[str] = mapped_column(String(200), primary_key=True)
    lanes: Mapped[list[Any]]
    device: Mapped[str]
    backbones: Mapped[list[Any]]
    started_at: Mapped[datetime]
    seen_at: Mapped[datetime]
    weights: Mapped[list[Any]]


class LeaseRow(Base):
    """A duty that one process at a time holds."""

    __tablename__ = "leases"

    name: Mapped[str] = mapped_column(String(64), primary_key=True)
    holder: Mapped[str]
    expires_at: Mapped[datetime]
