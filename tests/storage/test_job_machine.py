"""Any order of events leaves every job sound: a state machine driven by hypothesis, on both engines."""

from collections.abc import Callable
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    initialize,
    invariant,
    multiple,
    precondition,
    rule,
    run_state_machine_as_test,
)
from sqlalchemy import delete

from api_schemas.events import TERMINAL_EVENTS, EventType
from api_schemas.jobs import JobState, Priority
from storage.database.models import JobRow
from storage.database.records import Control, JobRecord
from storage.database.repositories import JobRepository
from storage.database.session import Database
from tests.storage.builders import ERROR, Clock, add_image_set, artifact, new_job

LEASE_S = 60.0
MAX_JOBS = 3
EXAMPLES = {"sqlite": 40, "postgresql": 15}


DEEDS: dict[str, Callable[[JobRepository, JobRecord], Control | bool | None]] = {
    "heartbeat": lambda jobs, claim: jobs.heartbeat(claim.id, claim.fence, lease_s=LEASE_S),
    "set_stage": lambda jobs, claim: jobs.set_stage(claim.id, claim.fence, "optimizing"),
    "set_progress": lambda jobs, claim: jobs.set_progress(claim.id, claim.fence, 0.5, 1, 2, {"loss": 1.0}),
    "log": lambda jobs, claim: jobs.log(claim.id, claim.fence, "hello"),
    "save_checkpoint": lambda jobs, claim: jobs.save_checkpoint(claim.id, claim.fence, f"c/{claim.fence}"),
    "release": lambda jobs, claim: jobs.release(claim.id, claim.fence, "worker-shutdown"),
    "confirm_cancel": lambda jobs, claim: jobs.confirm_cancel(claim.id, claim.fence),
    "fail": lambda jobs, claim: jobs.fail(claim.id, claim.fence, ERROR, {}),
    "succeed": lambda jobs, claim: jobs.succeed(
        claim.id, claim.fence, manifest_key="m", artifacts=[artifact()], self_check={}, metrics={}
    ),
}


class JobMachine(RuleBasedStateMachine):
    """Users, workers, zombies and a reconciler, in any order; a claim is a job as a worker once got it."""

    database: Database
    claims: Bundle[JobRecord] = Bundle("claims")

    @initialize()
    def begin(self) -> None:
        self.clock = Clock()
        self.image_set = add_image_set(self.database)
        with self.database.transaction() as session:
            session.execute(delete(JobRow))
        self.job_ids: list[str] = []
        self.ended: dict[str, JobRecord] = {}
        self.fences: dict[str, int] = {}
        self.commits: dict[str, int] = {}
        self.submit(Priority.NORMAL, 2, 10_000, "default")

    @contextmanager
    def jobs(self) -> Any:
        with self.database.transaction() as session:
            yield JobRepository(session, self.clock)

    @precondition(lambda self: len(self.job_ids) < MAX_JOBS)
    @rule(
        priority=st.sampled_from(Priority),
        max_attempts=st.integers(1, 3),
        deadline_s=st.sampled_from([10_000, 100]),
        lane=st.sampled_from(["default", "gpu"]),
    )
    def submit(self, priority: Priority, max_attempts: int, deadline_s: int, lane: str) -> None:
        job = new_job(
            self.image_set.id,
            self.clock,
            priority=priority,
            max_attempts=max_attempts,
            deadline_s=deadline_s,
            lane=lane,
        )
        with self.jobs() as jobs:
            self.job_ids.append(jobs.add(job).id)

    @rule(target=claims, lanes=st.sampled_from([["default", "gpu"], ["default"]]), worker=st.sampled_from("ab"))
    def claim(self, lanes: list[str], worker: str) -> Any:
        with self.jobs() as jobs:
            waiting = [
                job
                for job in jobs.page(100, state=JobState.QUEUED)
                if job.lane in lanes and job.deadline_at > self.clock.now
            ]
            claimed = jobs.claim(lanes=lanes, worker=worker, lease_s=LEASE_S)
        assert (claimed is None) == (not waiting)
        if claimed is None:
            return multiple()
        rank = list(Priority).index
        assert claimed.id == min(waiting, key=lambda job: (rank(job.priority), job.created_at, job.id)).id
        assert claimed.fence > self.fences.get(claimed.id, 0), "the fence strictly grows with every claim"
        assert 1 <= claimed.attempt <= claimed.max_attempts
        self.fences[claimed.id] = claimed.fence
        return claimed

    @rule(claim=claims, deed=st.sampled_from(sorted(DEEDS)))
    def worker_writes(self, claim: JobRecord, deed: str) -> None:
        with self.jobs() as jobs:
            before = jobs.get(claim.id)
            written = DEEDS[deed](jobs, claim)
            after = jobs.get(claim.id)
        held = before.state is JobState.RUNNING and before.fence == claim.fence
        asked = before.cancel_requested_at is not None
        assert bool(written) == (held and (asked or deed != "confirm_cancel"))
        assert written or after == before
        if isinstance(written, Control):
            assert written.cancel_requested == asked
            assert after.lease_until == self.clock.now + timedelta(seconds=LEASE_S)
        self.commits[claim.id] = self.commits.get(claim.id, 0) + (bool(written) and deed == "succeed")

    @rule(data=st.data())
    def request_cancel(self, data: st.DataObject) -> None:
        if self.job_ids:
            job_id = data.draw(st.sampled_from(self.job_ids))
            with self.jobs() as jobs:
                asked = jobs.request_cancel(job_id, "changed my mind")
            assert asked.state.is_terminal or asked.cancel_requested_at is not None

    @rule(seconds=st.sampled_from([0, 1, 30, LEASE_S, LEASE_S]))
    def time_passes_until_the_reconciler_comes(self, seconds: float) -> None:
        self.clock.advance(seconds)
        with self.jobs() as jobs:
            lost = jobs.release_expired_leases()
            jobs.expire_overdue()
            running = jobs.page(100, state=JobState.RUNNING)
            queued = jobs.page(100, state=JobState.QUEUED)
            assert set(jobs.due_for_wake_up(30)) <= {job.lane for job in queued}
        assert all(job.lease_until > self.clock.now for job in running)
        assert all(job.deadline_at > self.clock.now for job in queued)
        assert all(job.state is not JobState.RUNNING for job in lost)

    @invariant()
    def every_job_is_sound(self) -> None:
        with self.jobs() as jobs:
            found = [(jobs.get(job_id), jobs.events(job_id, limit=1000)) for job_id in self.job_ids]
        for job, events in found:
            assert [event.seq for event in events] == list(range(1, job.last_seq + 1)), "the log has no gaps"
            self.check_end(job, [event.type for event in events])
            assert job.fence == self.fences.get(job.id, 0)
            assert (job.state is JobState.RUNNING) == (job.lease_until is not None)
            assert self.commits.get(job.id, 0) == (job.state is JobState.SUCCEEDED), "at most one commit"

    def check_end(self, job: JobRecord, types: list[EventType]) -> None:
        ends = [kind for kind in types if kind in TERMINAL_EVENTS]
        assert ends == ([EventType(f"job.{job.state}")] if job.state.is_terminal else [])
        if job.state.is_terminal:
            assert types[-1] == ends[0], "nothing is logged after the end"
            assert self.ended.setdefault(job.id, job) == job, "a terminal state never changes"


def test_any_order_of_events_leaves_jobs_sound(database: Database) -> None:
    class Machine(JobMachine):
        pass

    Machine.database = database
    run_state_machine_as_test(
        Machine,
        settings=settings(
            max_examples=EXAMPLES[database.engine.dialect.name],
            stateful_step_count=30,
            deadline=None,
            derandomize=True,
            database=None,
            suppress_health_check=list(HealthCheck),
        ),
    )
