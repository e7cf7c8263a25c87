"""From a runner's files to a finished job: artifacts, then the manifest, then one transaction under the fence."""

import platform
from collections.abc import Callable, Sequence
from datetime import datetime
from importlib.metadata import version

import structlog

from api_schemas.manifest import (
    Artifact,
    Environment,
    Manifest,
    ManifestImage,
    ManifestMethod,
)
from storage.blobs import keys
from storage.blobs.base import BlobStore
from storage.database.records import ImageRecord, JobRecord, utc_now
from workers.ledger import Ledger
from workers.protocol import DoneMessage, FileArtifact, ReadyMessage

log = structlog.get_logger("workers.supervisor")


def publish(
    job: JobRecord,
    images: Sequence[ImageRecord],
    done: DoneMessage,
    *,
    runner: ReadyMessage,
    blobs: BlobStore,
    ledger: Ledger,
    between: Callable[[], None],
) -> bool:
    """Store a result under the attempt's own folder and commit it.

    Args:
        job: the claimed job.
        images: its images in order.
        done: what the runner left in its scratch folder.
        runner: for the manifest's environment.
        blobs: where to store.
        ledger: commits under the fence.
        between: called after each stored file, to keep the lease alive.

    Returns:
        Whether the result was committed. If not, or on an error, the attempt's folder is removed.

    Raises:
        StorageFullError: there is no space for the result.
    """
    try:
        stored = []
        for artifact in done.artifacts:
            stored.append(_store(job, artifact, blobs))
            between()
        manifest = make_manifest(job, images, done, runner=runner, artifacts=stored, created_at=utc_now())
        key = keys.manifest_key(job.id, job.fence)
        blobs.put(key, manifest.model_dump_json(by_alias=True, indent=1).encode())
        committed = ledger.succeed(manifest_key=key, artifacts=stored, self_check=done.self_check, metrics=done.metrics)
    except BaseException:
        discard(job, blobs)
        raise
    if not committed:
        log.warning("the result was refused: the lease had been lost")
        discard(job, blobs)
    return committed


def discard(job: JobRecord, blobs: BlobStore) -> None:
    """Remove the attempt's folder."""
    blobs.delete_prefix(keys.attempt_prefix(job.id, job.fence))


def make_manifest(
    job: JobRecord,
    images: Sequence[ImageRecord],
    done: DoneMessage,
    *,
    runner: ReadyMessage,
    artifacts: Sequence[Artifact],
    created_at: datetime,
) -> Manifest:
    """Describe a result."""
    return Manifest(
        schema="congeal/manifest/1",
        job_id=job.id,
        form=done.form,
        method=ManifestMethod(id=job.method, version=job.method_version),
        backbone=done.backbone,
        backbone_identity=done.backbone_identity,
        params=job.params,
        seed=job.seed,
        created_at=created_at,
        environment=Environment(
            python=platform.python_version(), torch=runner.torch, device=runner.device, congeal=version("congeal")
        ),
        images=[
            ManifestImage(
                index=index,
                id=image.id,
                sha256=image.sha256,
                name=image.name,
                width=image.width,
                height=image.height,
            )
            for index, image in enumerate(images)
        ],
        artifacts=list(artifacts),
        self_check=done.self_check,
    )


def _store(job: JobRecord, artifact: FileArtifact, blobs: BlobStore) -> Artifact:
    with artifact.path.open("rb") as stream:
        stored = blobs.put(keys.artifact_key(job.id, job.fence, artifact.draft.name), stream)
    return Artifact(**artifact.draft.model_dump(), bytes=stored.bytes, sha256=stored.sha256)
