"""Edits of results."""

from dataclasses import asdict
from datetime import datetime

from sqlalchemy import delete, select
from sqlalchemy.orm import Session

from storage.database.models import EditRow
from storage.database.records import EditRecord, NewEdit
from storage.database.repositories.base import Clock, before_cursor, insert_for, record_of, utc_now


class EditRepository:
    """Edits of the results of jobs."""

    def __init__(self, session: Session, clock: Clock = utc_now) -> None:
        self._session = session
        self._clock = clock

    def add(self, edit: NewEdit) -> EditRecord:
        """Add an edit, or return the equal one that another request has added just now; its id tells which."""
        values = {**asdict(edit), "created_at": self._clock()}
        statement = insert_for(self._session, EditRow).values(values)
        self._session.execute(statement.on_conflict_do_nothing(index_elements=[EditRow.job_id, EditRow.fingerprint]))
        query = select(EditRow).where(EditRow.job_id == edit.job_id, EditRow.fingerprint == edit.fingerprint)
        return record_of(EditRecord, self._session.scalars(query).one())

    def by_fingerprint(self, job_id: str, fingerprint: str) -> EditRecord | None:
        """Return the job's edit of that layer and specification, or None."""
        query = select(EditRow).where(EditRow.job_id == job_id, EditRow.fingerprint == fingerprint)
        row = self._session.scalars(query).one_or_none()
        return record_of(EditRecord, row) if row is not None else None

    def get(self, job_id: str, edit_id: str) -> EditRecord | None:
        """Return the edit if it is of that job, or None."""
        row = self._session.get(EditRow, edit_id)
        return record_of(EditRecord, row) if row is not None and row.job_id == job_id else None

    def page(self, job_id: str, limit: int, before: tuple[datetime, str] | None = None) -> list[EditRecord]:
        """Return up to `limit` edits of a job, newest first, older than the (created_at, id) of `before`."""
        query = select(EditRow).where(EditRow.job_id == job_id)
        if before is not None:
            query = query.where(before_cursor(EditRow.created_at, EditRow.id, before))
        ordered = query.order_by(EditRow.created_at.desc(), EditRow.id.desc()).limit(limit)
        return [record_of(EditRecord, row) for row in self._session.scalars(ordered)]

    def remove(self, job_id: str, edit_id: str) -> bool:
        """Remove the row of a job's edit; False when there is none."""
        statement = delete(EditRow).where(EditRow.id == edit_id, EditRow.job_id == job_id).returning(EditRow.id)
        removed = self._session.scalars(statement.execution_options(synchronize_session=False))
        return removed.one_or_none() is not None
