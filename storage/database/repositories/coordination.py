"""Idempotency keys, workers and leases: how processes that never meet agree."""

from datetime import timedelta
from typing import Final

from pydantic import JsonValue
from sqlalchemy import ColumnElement, and_, delete, or_, select, update
from sqlalchemy.orm import Session

from storage.database.models import IdempotencyKeyRow, LeaseRow, WorkerRow
from storage.database.records import IdempotencyRecord, WorkerRecord
from storage.database.repositories.base import Clock, insert_for, record_of, utc_now

IDEMPOTENCY_KEPT: Final = timedelta(hours=24)
RESERVATION_KEPT: Final = timedelta(minutes=10)
WORKER_ALIVE_S: Final = 120.0


class IdempotencyRepository:
    """Requests that may be sent again; the key must already hold its scope, such as the path."""

    def __init__(self, session: Session, clock: Clock = utc_now) -> None:
        self._session = session
        self._clock = clock

    def reserve(self, key: str, fingerprint: str) -> IdempotencyRecord | None:
        """Take the key for this request and return None, or return who has it.

        A finished request holds its key for 24 hours; one whose process died before it finished, for 10 minutes.
        """
        values = {"key": key, "fingerprint": fingerprint, "created_at": self._clock()}
        unanswered = {"status": None, "body": None, "location": None}
        statement = insert_for(self._session, IdempotencyKeyRow).values(values)
        taken = self._session.scalars(
            statement.on_conflict_do_update(
                index_elements=[IdempotencyKeyRow.key], set_={**values, **unanswered}, where=self._expired()
            ).returning(IdempotencyKeyRow.key)
        ).one_or_none()
        return self._get(key) if taken is None else None

    def complete(self, key: str, status: int, body: JsonValue, location: str | None) -> None:
        """Store the answer of the request that holds the key."""
        self._session.execute(
            update(IdempotencyKeyRow)
            .where(IdempotencyKeyRow.key == key)
            .values(status=status, body=body, location=location)
            .execution_options(synchronize_session=False)
        )

    def release(self, key: str) -> None:
        """Give an unanswered key back, so that the request can be tried again after an error."""
        unanswered = and_(IdempotencyKeyRow.key == key, IdempotencyKeyRow.status.is_(None))
        self._session.execute(delete(IdempotencyKeyRow).where(unanswered).execution_options(synchronize_session=False))

    def delete_expired(self) -> None:
        """Remove the keys that are kept no longer."""
        self._session.execute(
            delete(IdempotencyKeyRow).where(self._expired()).execution_options(synchronize_session=False)
        )

    def _expired(self) -> ColumnElement[bool]:
        now = self._clock()
        return or_(
            IdempotencyKeyRow.created_at <= now - IDEMPOTENCY_KEPT,
            and_(IdempotencyKeyRow.status.is_(None), IdempotencyKeyRow.created_at <= now - RESERVATION_KEPT),
        )

    def _get(self, key: str) -> IdempotencyRecord:
        query = select(IdempotencyKeyRow).where(IdempotencyKeyRow.key == key)
        row = self._session.scalars(query.execution_options(populate_existing=True)).one()
        return record_of(IdempotencyRecord, row)


class WorkerRepository:
    """Workers that have said that they are ready."""

    def __init__(self, session: Session, clock: Clock = utc_now) -> None:
        self._session = session
        self._clock = clock

    def register(self, worker: WorkerRecord) -> None:
        """Add the worker, or replace what it said before."""
        values = {name: getattr(worker, name) for name in WorkerRecord.__dataclass_fields__}
        statement = insert_for(self._session, WorkerRow).values(values)
        self._session.execute(statement.on_conflict_do_update(index_elements=[WorkerRow.id], set_=values))

    def seen(self, worker_id: str) -> bool:
        """Note that the worker lives; False when it is not registered. Call it at least once a minute."""
        statement = update(WorkerRow).where(WorkerRow.id == worker_id).values(seen_at=self._clock())
        found = self._session.scalars(statement.returning(WorkerRow.id).execution_options(synchronize_session=False))
        return found.one_or_none() is not None

    def remove(self, worker_id: str) -> None:
        """Forget the worker; fine when it is not registered."""
        self._session.execute(
            delete(WorkerRow).where(WorkerRow.id == worker_id).execution_options(synchronize_session=False)
        )

    def all(self) -> list[WorkerRecord]:
        """Return all registered workers, the living and the silent, by id."""
        query = select(WorkerRow).order_by(WorkerRow.id).execution_options(populate_existing=True)
        return [record_of(WorkerRecord, row) for row in self._session.scalars(query)]

    def alive(self, within_s: float = WORKER_ALIVE_S) -> list[WorkerRecord]:
        """Return the workers that were seen within so many seconds, by id."""
        since = self._clock() - timedelta(seconds=within_s)
        return [worker for worker in self.all() if worker.seen_at >= since]

    def backbones(self, within_s: float = WORKER_ALIVE_S) -> list[str]:
        """Return the names of the backbones that any living worker has at hand, sorted."""
        return sorted({name for worker in self.alive(within_s) for name in worker.backbones})

    def weights(self, within_s: float = WORKER_ALIVE_S) -> list[str]:
        """Return the entries of the weights catalogue that any living worker has at hand, sorted."""
        return sorted({name for worker in self.alive(within_s) for name in worker.weights})


class LeaseRepository:
    """Duties that one process at a time holds."""

    def __init__(self, session: Session, clock: Clock = utc_now) -> None:
        self._session = session
        self._clock = clock

    def take(self, name: str, holder: str, ttl_s: float) -> bool:
        """Take or keep the duty until `ttl_s` seconds from now; False while another process holds it."""
        now = self._clock()
        values = {"name": name, "holder": holder, "expires_at": now + timedelta(seconds=ttl_s)}
        statement = insert_for(self._session, LeaseRow).values(values)
        taken = self._session.scalars(
            statement.on_conflict_do_update(
                index_elements=[LeaseRow.name],
                set_=values,
                where=or_(LeaseRow.holder == holder, LeaseRow.expires_at <= now),
            ).returning(LeaseRow.name)
        )
        return taken.one_or_none() is not None

    def give_back(self, name: str, holder: str) -> None:
        """End the lease early; fine when the holder has it no more."""
        mine = and_(LeaseRow.name == name, LeaseRow.holder == holder)
        self._session.execute(delete(LeaseRow).where(mine).execution_options(synchronize_session=False))
