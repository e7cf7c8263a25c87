"""Bring the result of a job into a folder: every artifact, verified, and the manifest."""

import hashlib
import os
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import IO

import httpx

from api_schemas.manifest import Artifact, Manifest
from client.errors import DamagedDownloadError
from client.transport import Transport

OnArtifact = Callable[[Artifact], None]


def fetch_result(
    transport: Transport, manifest: Manifest, folder: Path, *, on_artifact: OnArtifact | None = None
) -> Path:
    """Write all artifacts of a manifest below `folder`, then `manifest.json`; return the manifest's path.

    A file that is already there with the right checksum is left alone, so a fetch that broke off can be repeated.
    No file is ever visible half-written.

    Raises:
        DamagedDownloadError: an artifact's bytes have the wrong checksum.
    """
    for artifact in manifest.artifacts:
        target = folder / artifact.name
        if not is_right(target, artifact):
            url = artifact.href or f"/v1/jobs/{manifest.job_id}/artifacts/{artifact.name}"
            download = partial(_download, transport.http, url, artifact, target)
            transport.send(download)
        if on_artifact:
            on_artifact(artifact)
    path = folder / "manifest.json"
    with atomic_file(path) as stream:
        stream.write(manifest.model_dump_json(by_alias=True, indent=2).encode())
    return path


def is_right(path: Path, artifact: Artifact) -> bool:
    """Tell whether a file holds exactly the artifact's bytes."""
    if not path.is_file() or path.stat().st_size != artifact.bytes:
        return False
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest() == artifact.sha256


def _download(http: httpx.Client, url: str, artifact: Artifact, target: Path) -> httpx.Response:
    """Stream an artifact to its file; an answer that is no success is returned unwritten."""
    with http.stream("GET", url) as response:
        if response.status_code != 200:
            response.read()
            return response
        with atomic_file(target) as stream:
            digest = hashlib.sha256()
            for chunk in response.iter_bytes():
                digest.update(chunk)
                stream.write(chunk)
            if digest.hexdigest() != artifact.sha256:
                raise DamagedDownloadError(artifact.name, expected=artifact.sha256, received=digest.hexdigest())
    return response


@contextmanager
def atomic_file(path: Path) -> Iterator[IO[bytes]]:
    """Yield a stream whose content appears at `path` in one step, or not at all when the block fails."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.NamedTemporaryFile(dir=path.parent, prefix=f".{path.name}.", delete=False) as stream:
        try:
            yield stream
            stream.flush()
            os.fsync(stream.fileno())
            os.replace(stream.name, path)
        except BaseException:
            Path(stream.name).unlink(missing_ok=True)
            raise
