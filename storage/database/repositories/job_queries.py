"""Questions about jobs; nothing here writes."""

from collections.abc import Sequence
from datetime import datetime

from pydantic import JsonValue
from sqlalchemy import ColumnElement, Select, and_, func, literal, select, tuple_
from sqlalchemy.orm import Session

from api_schemas.events import JobEvent
from api_schemas.jobs import JobState, Priority
from api_schemas.manifest import Artifact
from storage.database.models import ArtifactRow, ImageRow, ImageSetItemRow, JobEventRow, JobRow, UtcDateTime
from storage.database.records import Control, ImageRecord, JobRecord
from storage.database.repositories.base import Clock, before_cursor, record_of, utc_now

PRIORITY_RANK = {Priority.HIGH: 0, Priority.NORMAL: 1, Priority.LOW: 2}
_PRIORITY_OF = {rank: priority for priority, rank in PRIORITY_RANK.items()}


def job_record(row: JobRow) -> JobRecord:
    """Copy a job's row."""
    return record_of(JobRecord, row, priority=_PRIORITY_OF[row.priority])


def held_by(job_id: str, fence: int) -> ColumnElement[bool]:
    """Return the condition under which a worker may touch its job: it runs, and the claim is still this one."""
    return and_(JobRow.id == job_id, JobRow.fence == fence, JobRow.state == JobState.RUNNING)


class JobQueries:
    """What can be asked about jobs."""

    def __init__(self, session: Session, clock: Clock = utc_now) -> None:
        self._session = session
        self._clock = clock

    def get(self, job_id: str) -> JobRecord | None:
        """Return the job, or None."""
        row = self._one(select(JobRow).where(JobRow.id == job_id))
        return job_record(row) if row is not None else None

    def page(
        self,
        limit: int,
        before: tuple[datetime, str] | None = None,
        *,
        state: JobState | None = None,
        method: str | None = None,
        image_set_id: str | None = None,
    ) -> list[JobRecord]:
        """Return up to `limit` jobs, newest first, older than the (created_at, id) of `before`."""
        query = select(JobRow).order_by(JobRow.created_at.desc(), JobRow.id.desc()).limit(limit)
        if before is not None:
            query = query.where(before_cursor(JobRow.created_at, JobRow.id, before))
        if state is not None:
            query = query.where(JobRow.state == state)
        if method is not None:
            query = query.where(JobRow.method == method)
        if image_set_id is not None:
            query = query.where(JobRow.image_set_id == image_set_id)
        rows = self._session.scalars(query.execution_options(populate_existing=True))
        return [job_record(row) for row in rows]

    def queue_position(self, job: JobRecord) -> int | None:
        """Return 1 for the job that its lane claims next, and None when the job is not queued."""
        if job.state is not JobState.QUEUED:
            return None
        place = tuple_(literal(PRIORITY_RANK[job.priority]), literal(job.created_at, UtcDateTime()), literal(job.id))
        ahead = self._session.scalar(
            select(func.count())
            .select_from(JobRow)
            .where(JobRow.state == JobState.QUEUED, JobRow.lane == job.lane)
            .where(tuple_(JobRow.priority, JobRow.created_at, JobRow.id) < place)
        )
        return 1 + (ahead or 0)

    def images(self, job_id: str) -> list[ImageRecord]:
        """Return the job's images in the order of its set."""
        query = (
            select(ImageRow)
            .join(ImageSetItemRow, ImageSetItemRow.image_id == ImageRow.id)
            .join(JobRow, JobRow.image_set_id == ImageSetItemRow.image_set_id)
            .where(JobRow.id == job_id)
            .order_by(ImageSetItemRow.position)
        )
        return [record_of(ImageRecord, row) for row in self._session.scalars(query)]

    def masks(self, job_id: str) -> dict[str, ImageRecord]:
        """Return the masks of the job's images by the id of the image; none for images without."""
        given = self._session.scalar(select(JobRow.masks).where(JobRow.id == job_id)) or {}
        query = select(ImageRow).where(ImageRow.id.in_(set(given.values())))
        by_id = {row.id: record_of(ImageRecord, row) for row in self._session.scalars(query)}
        return {image_id: by_id[mask_id] for image_id, mask_id in given.items()}

    def annotations(self, job_id: str) -> dict[str, JsonValue] | None:
        """Return what is known of the job's images, or None."""
        return self._session.scalar(select(JobRow.annotations).where(JobRow.id == job_id))

    def control(self, job_id: str, fence: int) -> Control | None:
        """Return what the worker must know, without renewing its lease; None when the job is no longer its own."""
        query = select(JobRow.cancel_requested_at, JobRow.deadline_at).where(held_by(job_id, fence))
        found = self._session.execute(query).one_or_none()
        return self._control(found[0], found[1]) if found is not None else None

    def artifacts(self, job_id: str) -> list[Artifact]:
        """Return the artifacts of a succeeded job, in the order in which they were handed in."""
        query = select(ArtifactRow).where(ArtifactRow.job_id == job_id).order_by(ArtifactRow.position)
        return [_artifact(row) for row in self._session.scalars(query)]

    def artifact(self, job_id: str, name: str) -> Artifact | None:
        """Return one artifact, or None."""
        row = self._session.get(ArtifactRow, (job_id, name))
        return _artifact(row) if row is not None else None

    def events(self, job_id: str, *, after: int = 0, limit: int = 100) -> list[JobEvent]:
        """Return up to `limit` events with a `seq` above `after`, in order."""
        query = (
            select(JobEventRow)
            .where(JobEventRow.job_id == job_id, JobEventRow.seq > after)
            .order_by(JobEventRow.seq)
            .limit(limit)
        )
        return [
            JobEvent(job_id=row.job_id, seq=row.seq, at=row.at, type=row.type, data=row.data)
            for row in self._session.scalars(query)
        ]

    def last_seq(self, job_id: str) -> int:
        """Return the `seq` of the job's newest event; 0 when there is no such job."""
        return self._session.scalar(select(JobRow.last_seq).where(JobRow.id == job_id)) or 0

    def _one(self, query: Select[JobRow]) -> JobRow | None:
        return self._session.scalars(query.execution_options(populate_existing=True)).one_or_none()

    def _many(self, query: Select[JobRow]) -> Sequence[JobRow]:
        return self._session.scalars(query.execution_options(populate_existing=True)).all()

    def _control(self, cancel_requested_at: datetime | None, deadline_at: datetime) -> Control:
        return Control(cancel_requested=cancel_requested_at is not None, deadline_passed=deadline_at <= self._clock())


def _artifact(row: ArtifactRow) -> Artifact:
    return Artifact.model_validate(
        {
            "name": row.name,
            "kind": row.kind,
            "media_type": row.media_type,
            "images": row.images,
            "tensors": row.tensors,
            "bytes": row.bytes,
            "sha256": row.sha256,
        }
    )
