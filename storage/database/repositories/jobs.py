"""The state machine of jobs.

Every change is one UPDATE whose WHERE says from which state it leads, so that of two processes one wins and the other
changes nothing. The same UPDATE counts `revision` and `last_seq` up, and so holds the row while the event is appended:
the log of a job has no gaps. A worker's writes also name its fence, the number of its claim.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from datetime import timedelta
from typing import Any, Final

from pydantic import JsonValue
from sqlalchemy import ColumnElement, or_, select, update

from api_schemas.base import new_id
from api_schemas.events import EventType
from api_schemas.jobs import JobError, JobState
from api_schemas.manifest import Artifact
from storage.database.models import ArtifactRow, JobEventRow, JobRow
from storage.database.records import Control, JobRecord, NewJob
from storage.database.repositories.job_queries import PRIORITY_RANK, JobQueries, held_by, job_record

MAX_LOG_LENGTH: Final = 4000
RECONCILE_BATCH: Final = 100

_RETURNING: Final = {"synchronize_session": False, "populate_existing": True}
_NO_PROGRESS: Final[dict[str, Any]] = {
    "progress_fraction": None,
    "progress_step": None,
    "progress_total": None,
    "progress_metrics": {},
}
_STAGE_BEGINS: Final[dict[str, Any]] = {"progress_step": 0, "progress_total": 0, "progress_metrics": {}}
_QUEUED_AGAIN: Final[dict[str, Any]] = {
    **_NO_PROGRESS,
    "state": JobState.QUEUED,
    "stage": None,
    "lease_until": None,
    "worker": None,
    "woken_at": None,
}


class JobRepository(JobQueries):
    """Jobs, from submission to their end; terminal states never change."""

    def add(self, job: NewJob, *, annotations: dict[str, JsonValue] | None = None) -> JobRecord:
        """Queue a job; its image set must exist. `annotations` are those of its images, by their ids."""
        now = self._clock()
        row = JobRow(
            **{**asdict(job), "priority": PRIORITY_RANK[job.priority]},
            **_NO_PROGRESS,
            id=new_id("job"),
            annotations=annotations,
            state=JobState.QUEUED,
            created_at=now,
            attempt=0,
            fence=0,
            metrics={},
            revision=1,
            last_seq=1,
        )
        self._session.add(row)
        self._session.flush()
        self._append(row, EventType.QUEUED, {})
        return job_record(row)

    def claim(self, *, lanes: Sequence[str], worker: str, lease_s: float) -> JobRecord | None:
        """Take the best queued job of the lanes (priority, then age) for `lease_s` seconds, or return None."""
        now = self._clock()
        best = (
            select(JobRow.id)
            .where(JobRow.state == JobState.QUEUED, JobRow.lane.in_(lanes), JobRow.deadline_at > now)
            .order_by(JobRow.priority, JobRow.created_at, JobRow.id)
            .limit(1)
            .with_for_update(skip_locked=True)
            .scalar_subquery()
        )
        row = self._update(
            JobRow.id == best,
            JobRow.state == JobState.QUEUED,
            **_STAGE_BEGINS,
            state=JobState.RUNNING,
            progress_fraction=0.0,
            attempt=JobRow.attempt + 1,
            fence=JobRow.fence + 1,
            worker=worker,
            lease_until=now + timedelta(seconds=lease_s),
            heartbeat_at=now,
            started_at=now,
        )
        if row is None:
            return None
        self._append(row, EventType.STARTED, {"attempt": row.attempt, "resumed": row.checkpoint_key is not None})
        return job_record(row)

    def heartbeat(self, job_id: str, fence: int, *, lease_s: float) -> Control | None:
        """Renew the lease; None when the job is no longer the worker's, which must then stop and write nothing."""
        now = self._clock()
        statement = (
            update(JobRow)
            .where(held_by(job_id, fence))
            .values(lease_until=now + timedelta(seconds=lease_s), heartbeat_at=now, revision=JobRow.revision + 1)
            .returning(JobRow.cancel_requested_at, JobRow.deadline_at)
        )
        found = self._session.execute(statement, execution_options={"synchronize_session": False}).one_or_none()
        return self._control(found[0], found[1]) if found is not None else None

    def set_stage(self, job_id: str, fence: int, stage: str) -> bool:
        """Say what the job does now; False when it is no longer the worker's."""
        return self._report(job_id, fence, EventType.STAGE, {"stage": stage}, stage=stage, **_STAGE_BEGINS)

    def set_progress(
        self, job_id: str, fence: int, fraction: float, step: int, total: int, metrics: Mapping[str, float]
    ) -> bool:
        """Say how far the job is; metrics that are not finite are left out, since JSON has no word for them."""
        finite = {name: float(value) for name, value in metrics.items() if math.isfinite(value)}
        data: dict[str, JsonValue] = {"fraction": fraction, "step": step, "total": total, "metrics": {**finite}}
        return self._report(
            job_id,
            fence,
            EventType.PROGRESS,
            data,
            progress_fraction=fraction,
            progress_step=step,
            progress_total=total,
            progress_metrics=finite,
        )

    def log(self, job_id: str, fence: int, message: str) -> bool:
        """Append a line to the job's log; what exceeds 4000 characters is cut."""
        return self._report(job_id, fence, EventType.LOG, {"message": message[:MAX_LOG_LENGTH]})

    def save_checkpoint(self, job_id: str, fence: int, key: str) -> bool:
        """Name the checkpoint from which the next attempt resumes."""
        return self._report(job_id, fence, EventType.CHECKPOINT, {}, checkpoint_key=key)

    def succeed(
        self,
        job_id: str,
        fence: int,
        *,
        manifest_key: str,
        artifacts: Sequence[Artifact],
        self_check: Mapping[str, JsonValue],
        metrics: Mapping[str, JsonValue],
    ) -> bool:
        """Commit the result, whose bytes must already be stored; False when the job is no longer the worker's."""
        committed = self._report(
            job_id,
            fence,
            EventType.SUCCEEDED,
            {"artifacts": len(artifacts)},
            **self._ended(JobState.SUCCEEDED),
            progress_fraction=1.0,
            manifest_key=manifest_key,
            self_check=dict(self_check),
            metrics=dict(metrics),
        )
        if committed:
            self._session.add_all(
                ArtifactRow(job_id=job_id, position=position, **artifact.model_dump(mode="json", exclude={"href"}))
                for position, artifact in enumerate(artifacts)
            )
            self._session.flush()
        return committed

    def fail(self, job_id: str, fence: int, error: JobError, metrics: Mapping[str, JsonValue]) -> bool:
        """End the job with an error; False when it is no longer the worker's."""
        values = {"error": error.model_dump(mode="json"), "metrics": dict(metrics)}
        data: dict[str, JsonValue] = {"error": error.model_dump(mode="json")}
        return self._report(job_id, fence, EventType.FAILED, data, **self._ended(JobState.FAILED), **values)

    def confirm_cancel(self, job_id: str, fence: int) -> bool:
        """End the job as its user asked; False when nobody asked or the job is no longer the worker's."""
        requested = JobRow.cancel_requested_at.is_not(None)
        row = self._update(held_by(job_id, fence), requested, **self._ended(JobState.CANCELED))
        return row is not None and self._append(row, EventType.CANCELED, {})

    def release(self, job_id: str, fence: int, reason: str) -> bool:
        """Give the job back, as at a shutdown: queued again, and the attempt does not count."""
        row = self._one(select(JobRow).where(held_by(job_id, fence)).with_for_update())
        if row is None:
            return False
        if row.cancel_requested_at is not None:
            return self.confirm_cancel(job_id, fence)
        values = {**_QUEUED_AGAIN, "attempt": JobRow.attempt - 1}
        return self._report(job_id, fence, EventType.QUEUED, {"reason": reason}, **values)

    def lose_attempt(self, job_id: str, fence: int, reason: str) -> JobRecord | None:
        """Give the job back after an accident: queued again, or ended if canceled or out of attempts.

        None when the job is no longer the worker's.
        """
        row = self._one(select(JobRow).where(held_by(job_id, fence)).with_for_update())
        return self._lost(row, reason) if row is not None else None

    def request_cancel(self, job_id: str, reason: str | None) -> JobRecord | None:
        """Cancel a queued job at once, ask the worker of a running one, leave an ended one.

        Returns the job as it is then, or None when there is none of that id.
        """
        # The lock keeps the state from moving between the look and the change.
        row = self._one(select(JobRow).where(JobRow.id == job_id).with_for_update())
        if row is None:
            return None
        data: dict[str, JsonValue] = {} if reason is None else {"reason": reason}
        if row.state is JobState.QUEUED:
            ended = self._ended(JobState.CANCELED)
            return self._change(row, EventType.CANCELED, data, **ended, cancel_requested_at=self._clock())
        if row.state is JobState.RUNNING and row.cancel_requested_at is None:
            return self._change(row, EventType.CANCEL_REQUESTED, data, cancel_requested_at=self._clock())
        return job_record(row)

    def release_expired_leases(self) -> list[JobRecord]:
        """Take jobs from workers that fell silent: queued again, or ended if canceled or out of attempts.

        At most 100 a call, the longest silent first.
        """
        query = select(JobRow).where(JobRow.state == JobState.RUNNING, JobRow.lease_until <= self._clock())
        silent = self._many(query.order_by(JobRow.lease_until).limit(RECONCILE_BATCH).with_for_update(skip_locked=True))
        return [self._lost(row, "the worker fell silent") for row in silent]

    def expire_overdue(self) -> list[JobRecord]:
        """End queued jobs whose deadline has passed; at most 100 a call."""
        query = select(JobRow).where(JobRow.state == JobState.QUEUED, JobRow.deadline_at <= self._clock())
        overdue = self._many(
            query.order_by(JobRow.deadline_at).limit(RECONCILE_BATCH).with_for_update(skip_locked=True)
        )
        return [self._change(row, EventType.EXPIRED, {}, **self._ended(JobState.EXPIRED)) for row in overdue]

    def due_for_wake_up(self, repeat_s: float) -> list[str]:
        """Return the lanes, each once, with a job for which nobody was woken in `repeat_s` seconds; mark them."""
        now = self._clock()
        stale = or_(JobRow.woken_at.is_(None), JobRow.woken_at <= now - timedelta(seconds=repeat_s))
        statement = (
            update(JobRow).where(JobRow.state == JobState.QUEUED, stale).values(woken_at=now).returning(JobRow.lane)
        )
        return sorted(set(self._session.scalars(statement, execution_options={"synchronize_session": False})))

    def _lost(self, row: JobRow, reason: str) -> JobRecord:
        if row.cancel_requested_at is not None:
            return self._change(row, EventType.CANCELED, {"reason": "worker-lost"}, **self._ended(JobState.CANCELED))
        if row.attempt < row.max_attempts:
            return self._change(
                row, EventType.ATTEMPT_LOST, {"attempt": row.attempt, "reason": reason}, **_QUEUED_AGAIN
            )
        error = JobError(
            code="worker-lost",
            title="The worker was lost",
            detail=f"Attempt {row.attempt} of {row.max_attempts} was lost: {reason}. Submit the job again.",
            retryable=True,
        ).model_dump(mode="json")
        return self._change(row, EventType.FAILED, {"error": error}, **self._ended(JobState.FAILED), error=error)

    def _ended(self, state: JobState) -> dict[str, Any]:
        return {
            "state": state,
            "stage": None,
            "lease_until": None,
            "checkpoint_key": None,
            "finished_at": self._clock(),
        }

    def _report(self, job_id: str, fence: int, event: EventType, data: dict[str, JsonValue], **values: Any) -> bool:
        row = self._update(held_by(job_id, fence), **values)
        return row is not None and self._append(row, event, data)

    def _change(self, locked: JobRow, event: EventType, data: dict[str, JsonValue], **values: Any) -> JobRecord:
        row = self._update(JobRow.id == locked.id, **values)
        if row is None:
            raise RuntimeError(f"job {locked.id} vanished while it was locked")
        self._append(row, event, data)
        return job_record(row)

    def _update(self, *where: ColumnElement[bool], **values: Any) -> JobRow | None:
        counted = {"revision": JobRow.revision + 1, "last_seq": JobRow.last_seq + 1}
        statement = update(JobRow).where(*where).values(**values, **counted).returning(JobRow)
        return self._session.scalars(statement, execution_options=_RETURNING).one_or_none()

    def _append(self, row: JobRow, event: EventType, data: dict[str, JsonValue]) -> bool:
        self._session.add(JobEventRow(job_id=row.id, seq=row.last_seq, at=self._clock(), type=event, data=data))
        self._session.flush()
        return True
