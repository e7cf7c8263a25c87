"""Edits of results, on both engines."""

import hashlib

from storage.blobs.keys import edit_key, edit_prefix, job_prefix
from storage.database.records import EditRecord, NewEdit
from storage.database.repositories.edits import EditRepository
from storage.database.session import Database
from tests.storage.builders import NOON, Clock, add_job


def new_edit(job_id: str, number: int, *, paint: str = "red") -> NewEdit:
    """Return an edit whose fingerprint follows from its paint."""
    digest = hashlib.sha256(paint.encode()).hexdigest()
    return NewEdit(
        id=f"edt_{number}",
        job_id=job_id,
        fingerprint=digest,
        layer_sha256=digest,
        spec={"space": "atlas", "targets": ["img_1"]},
        results=[{"index": 0, "coverage": 0.25}],
    )


def add(database: Database, clock: Clock, edit: NewEdit) -> EditRecord:
    with database.transaction() as session:
        return EditRepository(session, clock).add(edit)


def test_an_edit_is_kept_as_it_was_added(database: Database) -> None:
    clock = Clock()
    job = add_job(database, clock)
    edit = new_edit(job.id, 1)
    record = add(database, clock, edit)
    assert record == EditRecord(**vars(edit), created_at=NOON)
    with database.transaction(read_only=True) as session:
        edits = EditRepository(session)
        assert edits.get(job.id, "edt_1") == record
        assert edits.by_fingerprint(job.id, edit.fingerprint) == record
        assert edits.get("job_other", "edt_1") is None
        assert edits.by_fingerprint(job.id, "0" * 64) is None


def test_an_equal_edit_is_not_added_twice_but_for_another_job(database: Database) -> None:
    clock = Clock()
    first, second = add_job(database, clock), add_job(database, clock)
    assert add(database, clock, new_edit(first.id, 1)).id == "edt_1"
    assert add(database, clock, new_edit(first.id, 2)).id == "edt_1"
    assert add(database, clock, new_edit(second.id, 3)).id == "edt_3"


def test_edits_are_listed_newest_first_and_can_be_removed(database: Database) -> None:
    clock = Clock()
    job = add_job(database, clock)
    for number in range(4):
        add(database, clock, new_edit(job.id, number, paint=str(number)))
        clock.advance(1 if number else 0)
    with database.transaction(read_only=True) as session:
        edits = EditRepository(session)
        page = edits.page(job.id, 2)
        assert [edit.id for edit in page] == ["edt_3", "edt_2"]
        rest = edits.page(job.id, 5, (page[-1].created_at, page[-1].id))
        assert [edit.id for edit in rest] == ["edt_1", "edt_0"]
    with database.transaction() as session:
        edits = EditRepository(session)
        assert not edits.remove("job_other", "edt_2")
        assert edits.remove(job.id, "edt_2")
        assert not edits.remove(job.id, "edt_2")
        assert len(edits.page(job.id, 5)) == 3


def test_the_pictures_of_an_edit_lie_in_the_folder_of_its_job() -> None:
    assert edit_prefix("job_1", "edt_2").startswith(job_prefix("job_1") + "/")
    assert edit_key("job_1", "edt_2", "img_3", "layer") == "jobs/job_1/edits/edt_2/img_3-layer.png"
