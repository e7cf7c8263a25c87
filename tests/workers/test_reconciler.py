import time
from datetime import timedelta

import pytest
from sqlalchemy import select

from api_schemas.events import EventType
from api_schemas.jobs import JobState
from storage.database.models import IdempotencyKeyRow
from storage.database.records import utc_now
from storage.database.repositories.coordination import IdempotencyRepository
from storage.database.repositories.jobs import JobRepository
from tests.workers.workplace import Workplace
from workers.reconciler import Reconciler


class Awakener:
    def __init__(self) -> None:
        self.lanes: list[str] = []

    def __call__(self, lane: str) -> None:
        self.lanes.append(lane)


def make_reconciler(place: Workplace, wake: Awakener, holder: str = "one", repeat_s: float = 30) -> Reconciler:
    return Reconciler(
        database=place.database,
        blobs=place.blobs,
        wake=wake,
        holder=holder,
        period_s=0.2,
        wake_repeat_s=repeat_s,
    )


@pytest.fixture
def wake() -> Awakener:
    return Awakener()


def claim(place: Workplace, *, lease_s: float) -> None:
    with place.database.transaction() as session:
        assert JobRepository(session).claim(lanes=["default"], worker="me", lease_s=lease_s) is not None


@pytest.fixture
def queued(workplace: Workplace, pictures: str) -> str:
    with workplace.database.transaction() as session:
        jobs = JobRepository(session)
        for job in jobs.page(limit=100, before=None):
            jobs.request_cancel(job.id, None)
            jobs.confirm_cancel(job.id, job.fence)
    return workplace.submit(pictures)


def test_a_waiting_job_wakes_workers_once_in_a_while(workplace: Workplace, queued: str, wake: Awakener) -> None:
    del queued
    reconciler = make_reconciler(workplace, wake, repeat_s=0.3)
    reconciler.tick()
    reconciler.tick()
    assert wake.lanes == ["default"]
    time.sleep(0.4)
    reconciler.tick()
    assert wake.lanes == ["default", "default"]
    reconciler.stop()


def test_an_expired_lease_puts_the_job_back_and_wakes(workplace: Workplace, queued: str, wake: Awakener) -> None:
    reconciler = make_reconciler(workplace, wake)
    claim(workplace, lease_s=0.05)
    time.sleep(0.1)
    reconciler.tick()
    assert workplace.job(queued).state is JobState.QUEUED
    assert EventType.ATTEMPT_LOST in workplace.event_types(queued)
    assert wake.lanes == ["default"]
    reconciler.stop()


def test_a_living_lease_is_left_alone(workplace: Workplace, queued: str, wake: Awakener) -> None:
    reconciler = make_reconciler(workplace, wake)
    claim(workplace, lease_s=60)
    reconciler.tick()
    assert workplace.job(queued).state is JobState.RUNNING
    assert wake.lanes == []
    reconciler.stop()


def test_a_job_that_lost_its_last_attempt_ends_and_leaves_no_files(
    workplace: Workplace, queued: str, wake: Awakener
) -> None:
    reconciler = make_reconciler(workplace, wake)
    workplace.blobs.put(f"jobs/{queued}/checkpoints/1-1.safetensors", b"x")
    for _ in range(2):
        claim(workplace, lease_s=0.05)
        time.sleep(0.1)
        reconciler.tick()
    assert workplace.job(queued).state is JobState.FAILED
    assert workplace.files(queued) == []
    reconciler.stop()


def test_a_job_past_its_deadline_expires(workplace: Workplace, queued: str, pictures: str, wake: Awakener) -> None:
    del queued
    late = workplace.submit(pictures, deadline_s=0)
    reconciler = make_reconciler(workplace, wake)
    reconciler.tick()
    assert workplace.job(late).state is JobState.EXPIRED
    reconciler.stop()


def test_one_process_has_the_duty_until_it_falls_silent(workplace: Workplace, wake: Awakener) -> None:
    one, two = make_reconciler(workplace, wake, "one"), make_reconciler(workplace, wake, "two")
    assert one.tick()
    assert not two.tick()
    time.sleep(0.7)
    assert two.tick()
    assert not one.tick()
    two.stop()
    assert one.tick()
    one.stop()


def test_answers_kept_for_repeated_requests_are_forgotten_after_a_day(workplace: Workplace, wake: Awakener) -> None:
    two_days_ago = utc_now() - timedelta(days=2)
    with workplace.database.transaction() as session:
        IdempotencyRepository(session, clock=lambda: two_days_ago).reserve("old", "print")
        IdempotencyRepository(session).reserve("new", "print")
    assert make_reconciler(workplace, wake, holder="forgetful").tick()
    with workplace.database.transaction(read_only=True) as session:
        assert set(session.scalars(select(IdempotencyKeyRow.key))) == {"new"}
