"""What becomes of a result when the fence is gone, without any runner."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from api_schemas.jobs import JobState
from api_schemas.manifest import ArtifactDraft, ArtifactKind, ResultForm
from storage.database.records import JobRecord
from storage.database.repositories.jobs import JobRepository
from tests.workers.workplace import Workplace
from workers.ledger import LeaseLostError, Ledger
from workers.protocol import DoneMessage, FileArtifact, ReadyMessage
from workers.publishing import publish

READY = ReadyMessage(device="cpu", torch="2", python="3.11", backbones=[], weights=[])
NAMES = ("maps/pairs/000.safetensors", "maps/pairs/001.safetensors", "self_check.json")


def lose_lease() -> None:
    raise LeaseLostError("taken away")


@pytest.fixture
def job(workplace: Workplace, pictures: str) -> Iterator[JobRecord]:
    job_id = workplace.submit(pictures)
    with workplace.database.transaction() as session:
        claimed = JobRepository(session).claim(lanes=["default"], worker="me", lease_s=60)
    assert claimed is not None
    assert claimed.id == job_id
    return claimed


@pytest.fixture
def done(tmp_path: Path) -> DoneMessage:
    artifacts = []
    for name in NAMES:
        path = tmp_path / name.replace("/", "_")
        path.write_text(name)
        draft = ArtifactDraft(name=name, kind=ArtifactKind.SELF_CHECK, media_type="text/plain")
        artifacts.append(FileArtifact(draft=draft, path=path))
    return DoneMessage(
        form=ResultForm.PAIRWISE_MAPS, backbone="none", artifacts=artifacts, self_check={"cycle": None}, metrics={}
    )


def publish_done(
    place: Workplace, job: JobRecord, done: DoneMessage, *, between: Callable[[], None] = lambda: None
) -> bool:
    with place.database.transaction(read_only=True) as session:
        images = JobRepository(session).images(job.id)
    ledger = Ledger(place.database, job, lease_s=60)
    return publish(job, images, done, runner=READY, blobs=place.blobs, ledger=ledger, between=between)


def test_files_come_before_the_manifest_and_the_manifest_before_the_commit(
    workplace: Workplace, job: JobRecord, done: DoneMessage
) -> None:
    seen: list[list[str]] = []
    assert publish_done(workplace, job, done, between=lambda: seen.append(workplace.files(job.id)))
    assert [len(files) for files in seen] == [1, 2, 3]
    assert not any("manifest.json" in name for files in seen for name in files)
    assert workplace.job(job.id).state is JobState.SUCCEEDED
    stored = {artifact.name: artifact for artifact in workplace.manifest(job.id).artifacts}
    assert stored == {artifact.name: artifact for artifact in workplace.artifacts(job.id)}
    assert stored["self_check.json"].bytes == len("self_check.json")


def test_a_result_under_an_old_fence_is_refused_and_removed(
    workplace: Workplace, job: JobRecord, done: DoneMessage
) -> None:
    with workplace.database.transaction() as session:
        jobs = JobRepository(session)
        assert jobs.lose_attempt(job.id, job.fence, "asleep") is not None
        heir = jobs.claim(lanes=["default"], worker="heir", lease_s=60)
    assert heir is not None
    before = workplace.job(job.id)
    assert not publish_done(workplace, job, done)
    assert workplace.files(job.id) == []
    assert workplace.job(job.id) == before
    assert publish_done(workplace, heir, done)
    assert not publish_done(workplace, job, done)
    assert all(name.startswith("attempt-2/") for name in workplace.files(job.id))
    assert len(workplace.artifacts(job.id)) == len(NAMES)


def test_nothing_is_left_of_a_result_that_could_not_be_stored(
    workplace: Workplace, job: JobRecord, done: DoneMessage
) -> None:
    with pytest.raises(LeaseLostError):
        publish_done(workplace, job, done, between=lose_lease)
    assert workplace.files(job.id) == []
    assert workplace.job(job.id).state is JobState.RUNNING
