"""From a claimed job to the runner's command: inputs in a scratch folder."""

import hashlib
import json
from collections.abc import Callable, Sequence
from pathlib import Path

from storage.blobs.base import BlobStore
from storage.database.records import ImageRecord, JobRecord
from workers.checkpoint_store import CheckpointStore, fetch
from workers.protocol import RunCommand, RunImage


def prepare_run(
    job: JobRecord,
    images: Sequence[ImageRecord],
    *,
    blobs: BlobStore,
    checkpoints: CheckpointStore,
    folder: Path,
    checkpoint_interval_s: float,
    between: Callable[[], None],
) -> RunCommand:
    """Copy the images and the last checkpoint into `folder` and write the command; `between` runs after each image.

    Raises:
        BlobNotFoundError: an image is gone.
        StorageFullError: there is no space for the copies.
    """
    inputs = []
    for index, image in enumerate(images):
        path = folder / f"input-{index:03d}"
        fetch(blobs, image.blob_key, path)
        inputs.append(RunImage(path=path, name=image.name))
        between()
    return RunCommand(
        label=job.id,
        method=job.method,
        params=job.params,
        seed=job.seed,
        images=inputs,
        scratch=folder,
        digest=run_digest(job, images),
        resume=checkpoints.fetch_last(folder),
        checkpoint_interval_s=checkpoint_interval_s,
    )


def run_digest(job: JobRecord, images: Sequence[ImageRecord]) -> str:
    """Return a SHA-256 of everything that decides the job's result."""
    decisive = {
        "method": job.method,
        "version": job.method_version,
        "params": job.params,
        "seed": job.seed,
        "images": [image.sha256 for image in images],
    }
    return hashlib.sha256(json.dumps(decisive, sort_keys=True).encode()).hexdigest()
