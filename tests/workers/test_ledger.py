from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from sqlalchemy.orm import Session

from api_schemas.jobs import JobError, JobState
from storage.database.repositories.jobs import JobRepository
from storage.database.session import Database
from storage.errors import StorageUnavailableError
from tests.workers.workplace import Workplace
from workers.ledger import LeaseLostError, Ledger

ERROR = JobError(code="method-error", title="t", detail="d", retryable=False)


class FalteringDatabase(Database):
    """Is out of reach for the next `failures` transactions."""

    failures = 0

    @contextmanager
    def transaction(self, *, read_only: bool = False) -> Iterator[Session]:
        if self.failures:
            self.failures -= 1
            raise StorageUnavailableError("out of reach")
        with super().transaction(read_only=read_only) as session:
            yield session


@pytest.fixture
def database(workplace: Workplace) -> Iterator[FalteringDatabase]:
    database = FalteringDatabase(workplace.settings.resolved_database_url)
    yield database
    database.dispose()


def make_ledger(database: Database, place: Workplace, pictures: str, *, lease_s: float = 60) -> tuple[Ledger, str]:
    job_id = place.submit(pictures)
    with database.transaction() as session:
        job = JobRepository(session).claim(lanes=["default"], worker="me", lease_s=60)
    assert job is not None
    assert job.id == job_id
    return Ledger(database, job, lease_s=lease_s), job_id


def test_a_short_outage_costs_a_heartbeat_and_no_job(
    database: FalteringDatabase, workplace: Workplace, pictures: str
) -> None:
    ledger, _ = make_ledger(database, workplace, pictures)
    database.failures = 2
    assert ledger.heartbeat() is None
    assert ledger.control() is None
    control = ledger.heartbeat()
    assert control is not None
    assert not control.cancel_requested


def test_an_outage_longer_than_the_lease_loses_the_job(
    database: FalteringDatabase, workplace: Workplace, pictures: str
) -> None:
    ledger, _ = make_ledger(database, workplace, pictures, lease_s=0)
    database.failures = 1
    with pytest.raises(LeaseLostError, match="longer than the lease"):
        ledger.heartbeat()


def test_the_end_of_an_attempt_is_written_as_soon_as_the_database_is_back(
    database: FalteringDatabase, workplace: Workplace, pictures: str
) -> None:
    ledger, job_id = make_ledger(database, workplace, pictures)
    database.failures = 1
    assert ledger.fail(ERROR, {})
    assert workplace.job(job_id).state is JobState.FAILED


def test_an_end_that_comes_too_late_is_given_up(
    database: FalteringDatabase, workplace: Workplace, pictures: str
) -> None:
    ledger, job_id = make_ledger(database, workplace, pictures, lease_s=0)
    database.failures = 1
    assert not ledger.fail(ERROR, {})
    assert workplace.job(job_id).state is JobState.RUNNING


def test_after_the_end_nothing_more_is_written(
    database: FalteringDatabase, workplace: Workplace, pictures: str
) -> None:
    ledger, job_id = make_ledger(database, workplace, pictures)
    assert ledger.fail(ERROR, {})
    ended = workplace.job(job_id)
    ledger.stage("flow")
    ledger.log("late")
    assert not ledger.checkpoint("jobs/x/checkpoints/1-1.safetensors")
    assert not ledger.release("late")
    assert ledger.lose_attempt("late") is None
    with pytest.raises(LeaseLostError):
        ledger.heartbeat()
    with pytest.raises(LeaseLostError):
        ledger.control()
    assert workplace.job(job_id) == ended
