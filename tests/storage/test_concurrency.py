"""Several processes and threads at once, on both engines."""

import multiprocessing
import threading
from typing import Any

from api_schemas.jobs import JobState
from storage.database.repositories import JobRepository, LeaseRepository
from storage.database.session import Database
from tests.storage.builders import Clock, add_image_set, add_job, new_job

JOBS = 40
PROCESSES = 2
THREADS = 3


def claim_all(url: str, signal: Any, answers: Any) -> None:
    """Claim and finish jobs in several threads until there are none, and report the (id, fence) of each."""
    database = Database(url)
    claimed: list[tuple[str, int]] = []

    def work(worker: str) -> None:
        while True:
            with database.transaction() as session:
                jobs = JobRepository(session, Clock())
                job = jobs.claim(lanes=["default"], worker=worker, lease_s=60)
            if job is None:
                return
            claimed.append((job.id, job.fence))
            with database.transaction() as session:
                JobRepository(session, Clock()).set_stage(job.id, job.fence, "optimizing")

    signal.wait()
    run_together([lambda name=str(number): work(name) for number in range(THREADS)])
    database.dispose()
    answers.put(claimed)


def run_together(calls: list[Any]) -> None:
    threads = [threading.Thread(target=call) for call in calls]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def test_each_job_is_claimed_once_by_many_processes(database: Database, database_url: str) -> None:
    image_set = add_image_set(database)
    with database.transaction() as session:
        ids = {JobRepository(session, Clock()).add(new_job(image_set.id, Clock())).id for _ in range(JOBS)}
    spawn = multiprocessing.get_context("spawn")
    signal, answers = spawn.Barrier(PROCESSES), spawn.Queue()
    processes = [spawn.Process(target=claim_all, args=(database_url, signal, answers)) for _ in range(PROCESSES)]
    for process in processes:
        process.start()
    claimed = [claim for _ in processes for claim in answers.get(timeout=60)]
    for process in processes:
        process.join(timeout=60)
    assert sorted(claimed) == sorted((job_id, 1) for job_id in ids)
    with database.transaction(read_only=True) as session:
        jobs = JobRepository(session)
        assert len(jobs.page(JOBS + 1, state=JobState.RUNNING)) == JOBS
        assert {tuple(event.seq for event in jobs.events(job_id)) for job_id in ids} == {(1, 2, 3)}


def test_the_log_of_a_job_has_no_gaps_under_many_writers(database: Database) -> None:
    clock = Clock()
    job = add_job(database, clock)
    with database.transaction() as session:
        claimed = JobRepository(session, clock).claim(lanes=["default"], worker="w", lease_s=60)
    assert claimed is not None

    def write(name: str) -> None:
        for number in range(10):
            with database.transaction() as session:
                assert JobRepository(session, clock).log(job.id, claimed.fence, f"{name} {number}")

    run_together([lambda name=name: write(name) for name in "abcd"])
    with database.transaction(read_only=True) as session:
        events = JobRepository(session).events(job.id)
    assert [event.seq for event in events] == list(range(1, 43))
    for name in "abcd":
        own = [event.data["message"] for event in events[2:] if str(event.data["message"]).startswith(name)]
        assert own == [f"{name} {number}" for number in range(10)]


def test_of_many_ends_one_counts(database: Database) -> None:
    clock = Clock()
    for _ in range(5):
        job = add_job(database, clock)
        with database.transaction() as session:
            claimed = JobRepository(session, clock).claim(lanes=["default"], worker="w", lease_s=60)
            assert claimed is not None
            JobRepository(session, clock).request_cancel(job.id, None)
        ends: list[bool] = []

        def end(kind: str, job_id: str = job.id, fence: int = claimed.fence, ends: list[bool] = ends) -> None:
            with database.transaction() as session:
                jobs = JobRepository(session, clock)
                ends.append(
                    jobs.confirm_cancel(job_id, fence)
                    if kind == "cancel"
                    else jobs.succeed(job_id, fence, manifest_key="m", artifacts=[], self_check={}, metrics={})
                )

        run_together([lambda kind=kind: end(kind) for kind in ("cancel", "succeed", "cancel", "succeed")])
        assert sorted(ends) == [False, False, False, True]


def test_a_duty_has_one_holder_among_many(database: Database) -> None:
    taken: list[str] = []

    def take(holder: str) -> None:
        with database.transaction() as session:
            if LeaseRepository(session).take("reconciler", holder, 60):
                taken.append(holder)

    run_together([lambda holder=holder: take(holder) for holder in "abcdef"])
    assert len(taken) == 1


def test_readers_do_not_wait_for_a_writer(database: Database) -> None:
    job = add_job(database, Clock())
    with database.transaction() as writing:
        JobRepository(writing, Clock()).request_cancel(job.id, None)
        with database.transaction(read_only=True) as reading:
            seen = JobRepository(reading).get(job.id)
    assert seen is not None
    assert seen.state is JobState.QUEUED


def test_a_cancel_that_meets_a_release_wins(database: Database) -> None:
    clock = Clock()
    job = add_job(database, clock)
    with database.transaction() as session:
        claimed = JobRepository(session, clock).claim(lanes=["default"], worker="w", lease_s=60)
    assert claimed is not None

    def cancel() -> None:
        with database.transaction() as session:
            JobRepository(session, clock).request_cancel(job.id, None)

    canceling = threading.Thread(target=cancel)
    with database.transaction() as session:
        assert JobRepository(session, clock).release(job.id, claimed.fence, "worker-shutdown")
        canceling.start()
        # It waits for the row, and must look at it anew once it gets it.
        canceling.join(timeout=0.3)
        assert canceling.is_alive()
    canceling.join()
    with database.transaction(read_only=True) as session:
        ended = JobRepository(session).get(job.id)
    assert ended is not None
    assert ended.state is JobState.CANCELED
