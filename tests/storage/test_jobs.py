"""The state machine of jobs, one rule a test, on both engines."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import timedelta

import pytest
from sqlalchemy import text
from sqlalchemy.exc import IntegrityError

from api_schemas.events import TERMINAL_EVENTS, EventType
from api_schemas.jobs import JobState, Priority
from storage.database.records import Control, JobRecord
from storage.database.repositories import JobRepository
from storage.database.session import Database
from tests.storage.builders import ERROR, Clock, add_image_set, add_job, artifact, new_job

LEASE_S = 60.0


@pytest.fixture
def clock() -> Clock:
    return Clock()


class Jobs:
    """Repositories, each call in a transaction of its own."""

    def __init__(self, database: Database, clock: Clock) -> None:
        self.database = database
        self.clock = clock

    @contextmanager
    def __call__(self) -> Iterator[JobRepository]:
        with self.database.transaction() as session:
            yield JobRepository(session, self.clock)

    def claimed(self, **options: object) -> JobRecord:
        add_job(self.database, self.clock, **options)  # type: ignore[arg-type]
        return self.claim()

    def claim(self, worker: str = "worker-1") -> JobRecord:
        with self() as jobs:
            claimed = jobs.claim(lanes=["default"], worker=worker, lease_s=LEASE_S)
        assert claimed is not None
        return claimed

    def get(self, job_id: str) -> JobRecord:
        with self() as jobs:
            found = jobs.get(job_id)
        assert found is not None
        return found

    def types(self, job_id: str) -> list[EventType]:
        with self() as jobs:
            events = jobs.events(job_id)
        assert [event.seq for event in events] == list(range(1, len(events) + 1))
        return [event.type for event in events]

    def succeed(self, job: JobRecord, *names: str) -> bool:
        with self() as jobs:
            return jobs.succeed(
                job.id,
                job.fence,
                manifest_key=f"jobs/{job.id}/attempt-{job.fence}/manifest.json",
                artifacts=[artifact(name) for name in names],
                self_check={"coverage": 0.9},
                metrics={"seconds": 1.5},
            )


@pytest.fixture
def jobs(database: Database, clock: Clock) -> Jobs:
    return Jobs(database, clock)


def test_a_new_job_is_queued_as_it_was_given(jobs: Jobs) -> None:
    image_set = add_image_set(jobs.database)
    given = new_job(image_set.id, jobs.clock, priority=Priority.HIGH)
    with jobs() as repository:
        job = repository.add(given)
        assert [image.id for image in repository.images(job.id)] == list(image_set.image_ids)
    found = jobs.get(job.id)
    assert found == job
    assert {name: getattr(found, name) for name in given.__dataclass_fields__} == {
        name: getattr(given, name) for name in given.__dataclass_fields__
    }
    assert (found.state, found.attempt, found.fence, found.revision) == (JobState.QUEUED, 0, 0, 1)
    assert jobs.types(job.id) == [EventType.QUEUED]


def test_a_job_needs_its_image_set(jobs: Jobs) -> None:
    with pytest.raises(IntegrityError), jobs() as repository:
        repository.add(new_job("set_none", jobs.clock))


def test_claims_go_by_priority_then_age_within_the_lanes(jobs: Jobs) -> None:
    order = [("low", Priority.LOW), ("old", Priority.NORMAL), ("new", Priority.NORMAL), ("high", Priority.HIGH)]
    for method, priority in order:
        add_job(jobs.database, jobs.clock, method=method, priority=priority)
        jobs.clock.advance(1)
    add_job(jobs.database, jobs.clock, lane="gpu.large", method="elsewhere", priority=Priority.HIGH)
    with jobs() as repository:
        queued = {job.method: repository.queue_position(job) for job in repository.page(10)}
        claimed = [repository.claim(lanes=["default", "unknown"], worker="w", lease_s=LEASE_S) for _ in range(5)]
        assert repository.claim(lanes=[], worker="w", lease_s=LEASE_S) is None
    assert [job.method if job else None for job in claimed] == ["high", "old", "new", "low", None]
    assert queued == {"high": 1, "old": 2, "new": 3, "low": 4, "elsewhere": 1}
    with jobs() as repository:
        assert all(job is None or repository.queue_position(job) is None for job in claimed)


def test_a_claim_takes_the_lease_and_counts_fence_and_attempt(jobs: Jobs) -> None:
    job = jobs.claimed()
    assert (job.state, job.worker, job.fence, job.attempt) == (JobState.RUNNING, "worker-1", 1, 1)
    assert job.lease_until == jobs.clock.now + timedelta(seconds=LEASE_S)
    assert job.started_at == job.heartbeat_at == jobs.clock.now
    assert jobs.types(job.id) == [EventType.QUEUED, EventType.STARTED]


def test_an_overdue_job_is_not_claimed_but_expires(jobs: Jobs) -> None:
    job = add_job(jobs.database, jobs.clock, deadline_s=10)
    jobs.clock.advance(10)
    with jobs() as repository:
        assert repository.claim(lanes=["default"], worker="w", lease_s=LEASE_S) is None
        assert [expired.id for expired in repository.expire_overdue()] == [job.id]
        assert repository.expire_overdue() == []
    assert jobs.get(job.id).state is JobState.EXPIRED
    assert jobs.types(job.id)[-1] is EventType.EXPIRED


def test_a_heartbeat_renews_the_lease_and_tells_of_cancel_and_deadline(jobs: Jobs) -> None:
    job = jobs.claimed(deadline_s=100)
    jobs.clock.advance(50)
    with jobs() as repository:
        control = repository.heartbeat(job.id, job.fence, lease_s=LEASE_S)
    assert control == Control(cancel_requested=False, deadline_passed=False)
    assert jobs.get(job.id).lease_until == jobs.clock.now + timedelta(seconds=LEASE_S)
    jobs.clock.advance(50)
    with jobs() as repository:
        repository.request_cancel(job.id, None)
        both = Control(cancel_requested=True, deadline_passed=True)
        assert repository.control(job.id, job.fence) == both
        assert repository.heartbeat(job.id, job.fence, lease_s=LEASE_S) == both


def test_control_does_not_renew_the_lease(jobs: Jobs) -> None:
    job = jobs.claimed()
    jobs.clock.advance(30)
    with jobs() as repository:
        assert repository.control(job.id, job.fence) is not None
    assert jobs.get(job.id) == job


def test_what_a_worker_reports_is_in_the_row_and_in_the_log(jobs: Jobs) -> None:
    job = jobs.claimed()
    with jobs() as repository:
        assert repository.set_progress(job.id, job.fence, 0.25, 5, 20, {"loss": 0.5, "psnr": float("inf")})
        assert repository.log(job.id, job.fence, "x" * 5000)
        assert repository.save_checkpoint(job.id, job.fence, "jobs/j/checkpoints/1-1.safetensors")
    found = jobs.get(job.id)
    assert (found.progress_fraction, found.progress_step, found.progress_total) == (0.25, 5, 20)
    assert found.progress_metrics == {"loss": 0.5}
    assert found.checkpoint_key == "jobs/j/checkpoints/1-1.safetensors"
    with jobs() as repository:
        assert repository.set_stage(job.id, job.fence, "optimizing")
        progress, log, checkpoint, stage = repository.events(job.id, after=2)
        assert repository.events(job.id, after=3, limit=1) == [log]
        assert repository.last_seq(job.id) == stage.seq == 6
    assert progress.data == {"fraction": 0.25, "step": 5, "total": 20, "metrics": {"loss": 0.5}}
    assert len(str(log.data["message"])) == 4000
    assert (checkpoint.type, stage.data) == (EventType.CHECKPOINT, {"stage": "optimizing"})
    found = jobs.get(job.id)
    assert (found.stage, found.progress_fraction, found.progress_step) == ("optimizing", 0.25, 0)


def test_every_change_raises_the_revision(jobs: Jobs) -> None:
    job = jobs.claimed()
    revisions = [job.revision]
    for change in (
        lambda repository: repository.heartbeat(job.id, job.fence, lease_s=LEASE_S),
        lambda repository: repository.set_stage(job.id, job.fence, "optimizing"),
        lambda repository: repository.set_progress(job.id, job.fence, 0.5, 1, 2, {}),
        lambda repository: repository.request_cancel(job.id, None),
        lambda repository: repository.confirm_cancel(job.id, job.fence),
    ):
        with jobs() as repository:
            assert change(repository)
        revisions.append(jobs.get(job.id).revision)
    assert revisions == sorted(set(revisions))


def test_success_stores_the_artifacts_in_order(jobs: Jobs) -> None:
    job = jobs.claimed()
    assert jobs.succeed(job, "maps/001.safetensors", "maps/000.safetensors")
    found = jobs.get(job.id)
    assert (found.state, found.progress_fraction, found.finished_at) == (
        JobState.SUCCEEDED,
        1.0,
        jobs.clock.now,
    )
    assert (found.self_check, found.metrics) == ({"coverage": 0.9}, {"seconds": 1.5})
    assert found.manifest_key == f"jobs/{job.id}/attempt-1/manifest.json"
    assert (found.lease_until, found.stage) == (None, None)
    with jobs() as repository:
        assert repository.artifacts(job.id) == [artifact("maps/001.safetensors"), artifact("maps/000.safetensors")]
        assert repository.artifact(job.id, "maps/000.safetensors") == artifact("maps/000.safetensors")
        assert repository.artifact(job.id, "maps/002.safetensors") is None


def test_failure_keeps_the_error(jobs: Jobs) -> None:
    job = jobs.claimed()
    with jobs() as repository:
        assert repository.fail(job.id, job.fence, ERROR, {"seconds": 2.0})
        assert repository.events(job.id, after=2)[0].data == {"error": ERROR.model_dump(mode="json")}
    found = jobs.get(job.id)
    assert (found.state, found.error) == (JobState.FAILED, ERROR.model_dump(mode="json"))


def test_a_queued_job_is_canceled_at_once(jobs: Jobs) -> None:
    job = add_job(jobs.database, jobs.clock)
    with jobs() as repository:
        canceled = repository.request_cancel(job.id, "wrong images")
        assert repository.events(job.id)[-1].data == {"reason": "wrong images"}
    assert canceled is not None
    assert (canceled.state, canceled.finished_at) == (JobState.CANCELED, jobs.clock.now)


def test_a_running_job_is_canceled_when_its_worker_agrees(jobs: Jobs) -> None:
    job = jobs.claimed()
    with jobs() as repository:
        assert not repository.confirm_cancel(job.id, job.fence), "nobody asked"
        asked = repository.request_cancel(job.id, None)
        assert repository.request_cancel(job.id, None) == asked, "asking twice changes nothing"
    assert asked is not None
    assert (asked.state, asked.cancel_requested_at) == (JobState.RUNNING, jobs.clock.now)
    with jobs() as repository:
        assert repository.confirm_cancel(job.id, job.fence)
    assert jobs.get(job.id).state is JobState.CANCELED
    assert jobs.types(job.id)[-2:] == [EventType.CANCEL_REQUESTED, EventType.CANCELED]


def test_canceling_what_is_not_there_gives_none(jobs: Jobs) -> None:
    with jobs() as repository:
        assert repository.request_cancel("job_none", None) is None
        assert repository.get("job_none") is None
        assert repository.last_seq("job_none") == 0


def end_success(jobs: Jobs, job: JobRecord) -> None:
    assert jobs.succeed(job)


def end_failure(jobs: Jobs, job: JobRecord) -> None:
    with jobs() as repository:
        assert repository.fail(job.id, job.fence, ERROR, {})


def end_cancel(jobs: Jobs, job: JobRecord) -> None:
    with jobs() as repository:
        repository.request_cancel(job.id, None)
        assert repository.confirm_cancel(job.id, job.fence)


@pytest.mark.parametrize("end", [end_success, end_failure, end_cancel])
def test_an_ended_job_never_changes(jobs: Jobs, end: Callable[[Jobs, JobRecord], None]) -> None:
    job = jobs.claimed()
    end(jobs, job)
    ended = jobs.get(job.id)
    jobs.clock.advance(1_000_000)
    assert refusals(jobs, job) == set()
    with jobs() as repository:
        assert repository.request_cancel(job.id, "too late") == ended
        assert repository.release_expired_leases() == []
        assert repository.expire_overdue() == []
        assert repository.due_for_wake_up(0) == []
        assert repository.claim(lanes=["default"], worker="w", lease_s=LEASE_S) is None
    assert jobs.get(job.id) == ended
    assert sum(event in TERMINAL_EVENTS for event in jobs.types(job.id)) == 1


def refusals(jobs: Jobs, job: JobRecord) -> set[str]:
    """Try every write of a worker and return the names of those that were not refused."""
    with jobs() as repository:
        answers = {
            "heartbeat": repository.heartbeat(job.id, job.fence, lease_s=LEASE_S),
            "control": repository.control(job.id, job.fence),
            "stage": repository.set_stage(job.id, job.fence, "late"),
            "progress": repository.set_progress(job.id, job.fence, 0.9, 9, 10, {}),
            "log": repository.log(job.id, job.fence, "late"),
            "checkpoint": repository.save_checkpoint(job.id, job.fence, "late"),
            "fail": repository.fail(job.id, job.fence, ERROR, {}),
            "cancel": repository.confirm_cancel(job.id, job.fence),
            "release": repository.release(job.id, job.fence, "late"),
        }
    answers["succeed"] = jobs.succeed(job, "maps/000.safetensors")
    return {name for name, answer in answers.items() if answer}


def test_a_worker_that_lost_its_job_can_write_nothing(jobs: Jobs) -> None:
    zombie = jobs.claimed()
    jobs.clock.advance(LEASE_S)
    with jobs() as repository:
        assert [lost.id for lost in repository.release_expired_leases()] == [zombie.id]
    queued = jobs.get(zombie.id)
    assert refusals(jobs, zombie) == set()
    assert jobs.get(zombie.id) == queued
    heir = jobs.claim("worker-2")
    assert heir.fence == zombie.fence + 1
    assert refusals(jobs, zombie) == set()
    assert jobs.get(zombie.id) == heir
    assert jobs.succeed(heir)


def test_a_lost_job_is_queued_until_its_attempts_are_used_up(jobs: Jobs) -> None:
    job = add_job(jobs.database, jobs.clock, max_attempts=2)
    first = jobs.claim()
    with jobs() as repository:
        repository.save_checkpoint(job.id, first.fence, "jobs/j/checkpoints/1-1.safetensors")
        repository.set_progress(job.id, first.fence, 0.5, 1, 2, {})
        repository.due_for_wake_up(30)
    jobs.clock.advance(LEASE_S + 1)
    with jobs() as repository:
        (queued,) = repository.release_expired_leases()
        assert repository.due_for_wake_up(30) == ["default"], "a lost job wakes its lane at once"
    assert (queued.state, queued.worker, queued.progress_fraction) == (JobState.QUEUED, None, None)
    second = jobs.claim()
    assert second.checkpoint_key == "jobs/j/checkpoints/1-1.safetensors"
    with jobs() as repository:
        assert repository.events(job.id)[-1].data == {"attempt": 2, "resumed": True}
    jobs.clock.advance(LEASE_S + 1)
    with jobs() as repository:
        (failed,) = repository.release_expired_leases()
    assert failed.state is JobState.FAILED
    assert failed.error is not None
    assert (failed.error["code"], failed.error["retryable"]) == ("worker-lost", True)
    assert jobs.types(job.id)[-3:] == [EventType.ATTEMPT_LOST, EventType.STARTED, EventType.FAILED]


def test_a_lost_job_that_was_to_be_canceled_is_canceled(jobs: Jobs) -> None:
    job = jobs.claimed()
    with jobs() as repository:
        repository.request_cancel(job.id, None)
    jobs.clock.advance(LEASE_S)
    with jobs() as repository:
        assert [lost.state for lost in repository.release_expired_leases()] == [JobState.CANCELED]


def test_a_lease_that_still_holds_is_left_alone(jobs: Jobs) -> None:
    jobs.claimed()
    jobs.clock.advance(LEASE_S - 1)
    with jobs() as repository:
        assert repository.release_expired_leases() == []


def test_a_job_given_back_loses_no_attempt(jobs: Jobs) -> None:
    job = jobs.claimed(max_attempts=1)
    with jobs() as repository:
        assert repository.release(job.id, job.fence, "worker-shutdown")
        assert repository.events(job.id)[-1].data == {"reason": "worker-shutdown"}
    again = jobs.claim("worker-2")
    assert (again.attempt, again.fence) == (1, 2)


def test_a_job_given_back_after_a_cancel_is_canceled(jobs: Jobs) -> None:
    job = jobs.claimed()
    with jobs() as repository:
        repository.request_cancel(job.id, None)
        assert repository.release(job.id, job.fence, "worker-shutdown")
    assert jobs.get(job.id).state is JobState.CANCELED


def test_lanes_are_woken_once_a_period(jobs: Jobs) -> None:
    for lane in ("default", "default", "gpu.large"):
        add_job(jobs.database, jobs.clock, lane=lane)
    with jobs() as repository:
        assert repository.due_for_wake_up(30) == ["default", "gpu.large"]
        jobs.clock.advance(29)
        assert repository.due_for_wake_up(30) == []
        jobs.clock.advance(1)
        assert repository.due_for_wake_up(30) == ["default", "gpu.large"]


def test_pages_are_newest_first_and_filtered(jobs: Jobs) -> None:
    made = []
    for number in range(7):
        made.append(add_job(jobs.database, jobs.clock, method=f"method_{number % 2}"))
        jobs.clock.advance(number % 3)
    claimed = jobs.claim()
    with jobs() as repository:
        seen, before = list[JobRecord](), None
        while page := repository.page(2, before):
            seen += page
            before = (page[-1].created_at, page[-1].id)
        expected = sorted(made, key=lambda job: (job.created_at, job.id), reverse=True)
        assert [job.id for job in seen] == [job.id for job in expected]
        assert [job.id for job in repository.page(10, state=JobState.RUNNING)] == [claimed.id]
        assert {job.method for job in repository.page(10, method="method_1")} == {"method_1"}
        assert [job.id for job in repository.page(10, image_set_id=made[3].image_set_id)] == [made[3].id]


def test_a_broken_transaction_leaves_neither_row_nor_event(jobs: Jobs) -> None:
    job = jobs.claimed()

    def crash() -> None:
        with jobs() as repository:
            repository.set_stage(job.id, job.fence, "optimizing")
            raise ConnectionResetError

    with pytest.raises(ConnectionResetError):
        crash()
    assert jobs.get(job.id) == job
    assert jobs.types(job.id) == [EventType.QUEUED, EventType.STARTED]


@pytest.mark.parametrize(
    "change",
    ["state = 'asleep'", "state = 'running'", "state = 'failed', finished_at = created_at", "state = 'succeeded'"],
)
def test_the_database_itself_refuses_impossible_rows(jobs: Jobs, change: str) -> None:
    job = add_job(jobs.database, jobs.clock)
    with pytest.raises(IntegrityError), jobs.database.transaction() as session:
        session.execute(text(f"UPDATE jobs SET {change} WHERE id = :id"), {"id": job.id})


def test_naive_times_are_refused(jobs: Jobs) -> None:
    image_set = add_image_set(jobs.database)
    naive = replace(new_job(image_set.id, jobs.clock), deadline_at=jobs.clock.now.replace(tzinfo=None))
    with pytest.raises(Exception, match="no time zone"), jobs() as repository:
        repository.add(naive)
