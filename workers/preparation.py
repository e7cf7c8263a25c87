"""From a claimed job to the runner's command: inputs in a scratch folder."""

import hashlib
import json
from collections.abc import Callable, Mapping
from pathlib import Path

from api_schemas.keypoints.schema import KeypointSchema
from api_schemas.manifest import Manifest
from storage.blobs.base import BlobStore
from storage.blobs.keys import artifact_key, manifest_key
from storage.database.records import JobRecord, MeshRecord
from storage.errors import BlobNotFoundError
from workers.checkpoint_store import CheckpointStore, fetch
from workers.ledger import JobInputs
from workers.protocol import MANIFEST_NAME, RunCommand, RunImage


class MeshMissingError(Exception):
    """A mesh that a job works with is gone."""


class BaseMissingError(Exception):
    """Files of the result that a job extends or uses are gone."""


def prepare_run(
    job: JobRecord,
    inputs: JobInputs,
    *,
    blobs: BlobStore,
    checkpoints: CheckpointStore,
    folder: Path,
    checkpoint_interval_s: float,
    between: Callable[[], None],
) -> RunCommand:
    """Copy the inputs and the last checkpoint into `folder` and write the command; `between` runs after each file.

    Raises:
        BlobNotFoundError: an image or a mask is gone.
        BaseMissingError: a file of the extended job's result, or of one that it uses, is gone.
        MeshMissingError: a mesh is gone.
        StorageFullError: there is no space for the copies.
    """
    known = inputs.annotations.images if inputs.annotations else {}
    images = []
    for index, image in enumerate(inputs.images):
        path = folder / f"input-{index:03d}"
        fetch(blobs, image.blob_key, path)
        between()
        mask = inputs.masks.get(image.id)
        mask_path = None if mask is None else folder / f"mask-{index:03d}"
        if mask is not None and mask_path is not None:
            fetch(blobs, mask.blob_key, mask_path)
            between()
        images.append(RunImage(path=path, name=image.name, mask=mask_path, annotation=known.get(image.id)))
    return RunCommand(
        label=job.id,
        method=job.method,
        params=job.params,
        seed=job.seed,
        images=images,
        scratch=folder,
        digest=run_digest(job, inputs),
        resume=checkpoints.fetch_last(folder),
        base=None if inputs.base is None else fetch_result(inputs.base, folder / "base", blobs=blobs, between=between),
        categories=_categories(inputs),
        used={
            name: fetch_result(_there(name, job), folder / f"used-{name}", blobs=blobs, between=between)
            for name, job in inputs.used.items()
        },
        meshes=_fetch_meshes(inputs.meshes, folder, blobs=blobs, between=between),
        checkpoint_interval_s=checkpoint_interval_s,
    )


def fetch_result(base: JobRecord, folder: Path, *, blobs: BlobStore, between: Callable[[], None]) -> Path:
    """Copy the manifest of a succeeded job, and its artifacts but the pictures, into a new folder and return it.

    Files are named in it as in the manifest.

    Raises:
        BaseMissingError: a file is gone.
        StorageFullError: there is no space for the copies.
    """
    folder.mkdir()
    try:
        fetch(blobs, manifest_key(base.id, base.fence), folder / MANIFEST_NAME)
        manifest = Manifest.model_validate_json((folder / MANIFEST_NAME).read_bytes())
        for artifact in manifest.artifacts:
            if not artifact.media_type.startswith("image/"):
                path = folder / artifact.name
                path.parent.mkdir(parents=True, exist_ok=True)
                fetch(blobs, artifact_key(base.id, base.fence, artifact.name), path)
                between()
    except BlobNotFoundError as error:
        raise BaseMissingError(f"of the result of job {base.id} the file {error.key} is gone") from error
    return folder


def _fetch_meshes(
    meshes: Mapping[str, MeshRecord | None], folder: Path, *, blobs: BlobStore, between: Callable[[], None]
) -> dict[str, Path]:
    paths = {}
    for index, (name, mesh) in enumerate(meshes.items()):
        if mesh is None:
            raise MeshMissingError(f"the mesh that parameter {name!r} names is gone")
        paths[name] = folder / f"mesh-{index:03d}.glb"
        try:
            fetch(blobs, mesh.blob_key, paths[name])
        except BlobNotFoundError as error:
            raise MeshMissingError(f"the stored file of mesh {mesh.id} is gone") from error
        between()
    return paths


def _categories(inputs: JobInputs) -> dict[str, KeypointSchema]:
    """Return the keypoints of each kind of object; they are complete once a job is accepted."""
    given = inputs.annotations.categories if inputs.annotations else {}
    return {name: schema for name, schema in given.items() if isinstance(schema, KeypointSchema)}


def _there(name: str, job: JobRecord | None) -> JobRecord:
    if job is None:
        raise BaseMissingError(f"the job that parameter {name!r} names is gone")
    return job


def run_digest(job: JobRecord, inputs: JobInputs) -> str:
    """Return a SHA-256 of everything that decides the job's result."""
    decisive = {
        "method": job.method,
        "version": job.method_version,
        "params": job.params,
        "seed": job.seed,
        "images": [image.sha256 for image in inputs.images],
        "masks": [inputs.masks[image.id].sha256 if image.id in inputs.masks else None for image in inputs.images],
        "extends": job.extends,
        "meshes": {name: mesh.sha256 for name, mesh in inputs.meshes.items() if mesh is not None},
        "annotations": None if inputs.annotations is None else inputs.annotations.model_dump(mode="json"),
    }
    return hashlib.sha256(json.dumps(decisive, sort_keys=True).encode()).hexdigest()
