"""Jobs brought to an end as a worker would: claimed, artifacts stored, committed under the fence."""

import hashlib
from pathlib import Path

from alignment.forms import Form
from alignment.storage_format import form_kind, write_form
from api_schemas.jobs import JobError
from api_schemas.manifest import (
    Artifact,
    ArtifactDraft,
    ArtifactKind,
    Environment,
    Manifest,
    ManifestImage,
    ManifestMethod,
)
from service.dependencies import Services
from storage.blobs.keys import artifact_key, manifest_key
from storage.database.records import JobRecord, utc_now
from storage.database.repositories.jobs import JobRepository
from tests.service.pictures import encoded, plain

PICTURE = "pictures/atlas.png"


def claim(services: Services) -> JobRecord:
    """Claim the next job."""
    with services.database.transaction() as session:
        record = JobRepository(session).claim(lanes=["default"], worker="test", lease_s=60)
    assert record is not None
    return record


def fail(services: Services, record: JobRecord) -> None:
    """End a claimed job with an error."""
    error = JobError(code="diverged", title="It diverged", detail="The loss is not finite.", retryable=False)
    with services.database.transaction() as session:
        assert JobRepository(session).fail(record.id, record.fence, error, {})


def succeed(services: Services, form: Form, folder: Path) -> Manifest:
    """Claim the next job and give it this result."""
    record = claim(services)
    artifacts = [_store(services, record, draft, folder) for draft in [*write_form(form, folder), _picture(folder)]]
    manifest = _manifest(services, record, form, artifacts)
    key = manifest_key(record.id, record.fence)
    services.blobs.put(key, manifest.model_dump_json(by_alias=True).encode())
    with services.database.transaction() as session:
        committed = JobRepository(session).succeed(
            record.id, record.fence, manifest_key=key, artifacts=artifacts, self_check={"coverage": 1.0}, metrics={}
        )
    assert committed
    return manifest


def _picture(folder: Path) -> ArtifactDraft:
    path = folder / PICTURE
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(encoded(plain("green")))
    return ArtifactDraft(name=PICTURE, kind=ArtifactKind.ATLAS_RGB, media_type="image/png")


def _store(services: Services, record: JobRecord, draft: ArtifactDraft, folder: Path) -> Artifact:
    content = (folder / draft.name).read_bytes()
    services.blobs.put(artifact_key(record.id, record.fence, draft.name), content)
    return Artifact(**dict(draft), bytes=len(content), sha256=hashlib.sha256(content).hexdigest())


def _manifest(services: Services, record: JobRecord, form: Form, artifacts: list[Artifact]) -> Manifest:
    with services.database.transaction(read_only=True) as session:
        images = JobRepository(session).images(record.id)
    return Manifest(
        job_id=record.id,
        form=form_kind(form),
        method=ManifestMethod(id=record.method, version=record.method_version),
        backbone="dense_descriptor",
        params=record.params,
        seed=record.seed,
        created_at=utc_now(),
        environment=Environment(python="3.11", torch="none", device="cpu", congeal="0.1.0"),
        images=[
            ManifestImage(
                index=index, id=image.id, sha256=image.sha256, name=image.name, width=image.width, height=image.height
            )
            for index, image in enumerate(images)
        ],
        artifacts=artifacts,
        self_check={"coverage": 1.0},
    )
