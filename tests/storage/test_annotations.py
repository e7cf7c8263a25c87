"""What a job keeps of what is known of its images."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from pydantic import JsonValue
from sqlalchemy import event, text

from storage.database.migrate import downgrade, upgrade
from storage.database.records import JobRecord
from storage.database.repositories import JobRepository
from storage.database.session import Database
from tests.storage.builders import Clock, add_image_set, add_job, new_job
from tests.storage.test_job_inputs import OLD_EVENT, OLD_ID, OLD_JOB, OLD_SET

ANNOTATIONS: dict[str, JsonValue] = {
    "categories": {"cat": {"names": ["linkes Auge", "右目"], "mirror_pairs": [[0, 1]]}},
    "images": {"img_1": {"keypoints": [[1.5, 2.25, 1], [0, 0, 0]], "box": None, "split": "test"}},
}


def add_annotated(database: Database, clock: Clock) -> JobRecord:
    """Queue a job with annotations."""
    image_set = add_image_set(database, "c.png", "d.png")
    with database.transaction() as session:
        return JobRepository(session, clock).add(new_job(image_set.id, clock), annotations=ANNOTATIONS)


def annotations_of(database: Database, job_id: str) -> dict[str, JsonValue] | None:
    """Read them in a transaction of their own."""
    with database.transaction(read_only=True) as session:
        return JobRepository(session).annotations(job_id)


@contextmanager
def statements(database: Database) -> Iterator[list[str]]:
    """Collect what is asked of the database."""
    asked: list[str] = []

    def note(_connection: Any, _cursor: Any, statement: str, *_others: Any) -> None:
        asked.append(statement)

    event.listen(database.engine, "before_cursor_execute", note)
    try:
        yield asked
    finally:
        event.remove(database.engine, "before_cursor_execute", note)


def test_annotations_come_back_as_they_went(database: Database) -> None:
    job = add_annotated(database, Clock())
    assert annotations_of(database, job.id) == ANNOTATIONS


def test_a_job_without_annotations_has_none_and_so_has_one_that_is_not_there(database: Database) -> None:
    job = add_job(database, Clock())
    assert annotations_of(database, job.id) is None
    assert annotations_of(database, OLD_ID) is None


def test_annotations_stay_over_the_life_of_a_job(database: Database) -> None:
    clock = Clock()
    job = add_annotated(database, clock)
    with database.transaction() as session:
        jobs = JobRepository(session, clock)
        claimed = jobs.claim(lanes=["default"], worker="w", lease_s=60)
        assert claimed is not None
        assert jobs.release(claimed.id, claimed.fence, "shutdown")
        assert jobs.request_cancel(job.id, None) is not None
    assert annotations_of(database, job.id) == ANNOTATIONS


def test_nothing_loads_annotations_but_the_question_for_them(database: Database) -> None:
    clock = Clock()
    job = add_annotated(database, clock)
    with statements(database) as asked, database.transaction() as session:
        jobs = JobRepository(session, clock)
        assert [found.id for found in jobs.page(10)] == [job.id]
        assert jobs.get(job.id) == job
        assert jobs.queue_position(job) == 1
        claimed = jobs.claim(lanes=["default"], worker="w", lease_s=60)
        assert claimed is not None
        assert jobs.heartbeat(job.id, claimed.fence, lease_s=60) is not None
    assert len(asked) >= 5
    assert [statement for statement in asked if "annotations" in statement] == []
    with statements(database) as asked:
        assert annotations_of(database, job.id) is not None
    assert sum("annotations" in statement for statement in asked) == 1


def test_jobs_of_before_have_no_annotations(empty_database_url: str) -> None:
    database = Database(empty_database_url)
    upgrade(database.engine, "0004")
    with database.transaction() as session:
        for statement in (OLD_SET, OLD_JOB, OLD_EVENT):
            session.execute(text(statement))
    database.migrate()
    assert annotations_of(database, OLD_ID) is None
    clock = Clock()
    job = add_annotated(database, clock)
    downgrade(database.engine, "0004")
    database.migrate()
    assert annotations_of(database, job.id) is None
    with database.transaction(read_only=True) as session:
        found = JobRepository(session, clock).get(job.id)
    assert found is not None
    assert found.params == job.params
    database.dispose()
