"""What a job keeps of its masks and of the job that it extends."""

from dataclasses import replace

import pytest
from sqlalchemy import text
from sqlalchemy.exc import IntegrityError

from storage.database.migrate import upgrade
from storage.database.records import ImageSetRecord
from storage.database.repositories import ImageRepository, JobRepository
from storage.database.session import Database
from tests.storage.builders import Clock, add_image_set, add_job, new_image, new_job

MOMENT = "2026-01-01 12:00:00"
OLD_ID = "job_01k8zd6c2q4x7v9m3n5p8r0s1t"
OLD_SET = f"INSERT INTO image_sets (id, created_at) VALUES ('set_old', '{MOMENT}')"
OLD_JOB = f"""
INSERT INTO jobs (id, method, method_version, lane, image_set_id, params, seed, priority, labels, max_attempts,
    deadline_at, created_at, state, progress_metrics, attempt, fence, metrics, revision, last_seq)
VALUES ('{OLD_ID}', 'tiny', '1', 'default', 'set_old', '{{}}', 0, 1, '{{}}', 3,
    '{MOMENT}', '{MOMENT}', 'queued', '{{}}', 0, 0, '{{}}', 1, 1)
"""
OLD_EVENT = f"""
INSERT INTO job_events (job_id, seq, at, type, data) VALUES ('{OLD_ID}', 1, '{MOMENT}', 'job.queued', '{{}}')
"""


def masks_of(database: Database, image_set: ImageSetRecord) -> dict[str, str]:
    """Store a mask for each image of a set."""
    with database.transaction() as session:
        images = ImageRepository(session)
        return {image_id: images.add(new_image(f"mask of {image_id}")).id for image_id in image_set.image_ids}


def test_masks_are_found_by_their_image(database: Database) -> None:
    clock, image_set = Clock(), add_image_set(database)
    masks = masks_of(database, image_set)
    with database.transaction() as session:
        jobs = JobRepository(session, clock)
        job = jobs.add(replace(new_job(image_set.id, clock), masks=masks))
        found = jobs.masks(job.id)
    assert job.masks == masks
    assert {image_id: record.id for image_id, record in found.items()} == masks
    assert [record.name for record in found.values()] == [f"mask of {image_id}" for image_id in image_set.image_ids]


def test_a_job_without_masks_has_none(database: Database) -> None:
    job = add_job(database, Clock())
    assert (job.masks, job.extends) == (None, None)
    with database.transaction(read_only=True) as session:
        assert JobRepository(session).masks(job.id) == {}


def test_a_job_extends_one_that_exists(database: Database) -> None:
    clock, base = Clock(), add_job(database, Clock())
    with database.transaction() as session:
        job = JobRepository(session, clock).add(replace(new_job(base.image_set_id, clock), extends=base.id))
    assert job.extends == base.id
    nowhere = replace(new_job(base.image_set_id, clock), extends="job_nowhere")
    with pytest.raises(IntegrityError), database.transaction() as session:
        JobRepository(session, clock).add(nowhere)


def test_jobs_of_the_first_schema_keep_their_events(empty_database_url: str) -> None:
    database = Database(empty_database_url)
    upgrade(database.engine, "0001")
    with database.transaction() as session:
        for statement in (OLD_SET, OLD_JOB, OLD_EVENT):
            session.execute(text(statement))
    database.migrate()
    with database.transaction(read_only=True) as session:
        jobs = JobRepository(session)
        job = jobs.get(OLD_ID)
        assert job is not None
        assert (job.masks, job.extends) == (None, None)
        assert [event.seq for event in jobs.events(OLD_ID)] == [1]
    database.dispose()
