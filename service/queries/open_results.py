"""Keep the results that are asked about memory-mapped."""

import threading
from collections import OrderedDict
from contextlib import ExitStack
from dataclasses import dataclass

from alignment.forms import Form
from alignment.storage_format import read_form
from api_schemas.manifest import Manifest
from storage.blobs.base import BlobStore
from storage.blobs.keys import artifact_key
from storage.database.records import JobRecord


@dataclass(frozen=True)
class OpenResult:
    """A result that can be asked."""

    manifest: Manifest
    form: Form


class OpenResults:
    """The most recently used results. A result never changes, so what is open stays right."""

    def __init__(self, blobs: BlobStore, *, capacity: int) -> None:
        self._blobs = blobs
        self._capacity = capacity
        self._lock = threading.Lock()
        self._open: OrderedDict[str, tuple[OpenResult, ExitStack]] = OrderedDict()

    def __len__(self) -> int:
        """Return how many results are open."""
        return len(self._open)

    def manifest(self, job: JobRecord) -> Manifest:
        """Read the manifest of a succeeded job."""
        with self._lock:
            if job.id in self._open:
                return self._open[job.id][0].manifest
        with self._blobs.open(job.manifest_key or "") as stream:
            return Manifest.model_validate_json(stream.read())

    def get(self, job: JobRecord) -> OpenResult:
        """Open the result of a succeeded job, or return it if it is open."""
        with self._lock:
            if job.id in self._open:
                self._open.move_to_end(job.id)
                return self._open[job.id][0]
        result, files = self._read(job)
        with self._lock:
            if job.id in self._open:
                files.close()
                return self._open[job.id][0]
            self._open[job.id] = result, files
            while len(self._open) > self._capacity:
                # A query at work on it keeps its mapping; only the way back to the files is given up.
                _, (_, oldest) = self._open.popitem(last=False)
                oldest.close()
        return result

    def close(self) -> None:
        """Let go of all results."""
        with self._lock:
            while self._open:
                _, (_, files) = self._open.popitem()
                files.close()

    def _read(self, job: JobRecord) -> tuple[OpenResult, ExitStack]:
        manifest = self.manifest(job)
        with ExitStack() as stack:
            form = read_form(
                manifest, lambda name: stack.enter_context(self._blobs.path(artifact_key(job.id, job.fence, name)))
            )
            return OpenResult(manifest, form), stack.pop_all()
