"""Checkpoints of a job in the blob store; the runner knows only files."""

import shutil
from pathlib import Path

import structlog

from storage.blobs import keys
from storage.blobs.base import BlobStore
from storage.database.records import JobRecord
from storage.errors import BlobNotFoundError, StorageError, StorageFullError
from workers.ledger import Ledger

CHECKPOINTS_KEPT = 2

log = structlog.get_logger("workers.supervisor")


class CheckpointStore:
    """Keeps the last two checkpoints of a job across its attempts."""

    def __init__(self, job: JobRecord, *, blobs: BlobStore, ledger: Ledger) -> None:
        self._job = job
        self._blobs = blobs
        self._ledger = ledger
        self._made = 0
        self._kept = [job.checkpoint_key] if job.checkpoint_key is not None else []

    def fetch_last(self, folder: Path) -> Path | None:
        """Copy the last checkpoint of an earlier attempt into `folder`; None when there is none.

        Raises:
            StorageFullError: there is no space for the copy.
        """
        if not self._kept:
            return None
        path = folder / "resume.safetensors"
        try:
            fetch(self._blobs, self._kept[-1], path)
        except BlobNotFoundError:
            self._ledger.log("The last checkpoint is gone. Beginning afresh.")
            return None
        return path

    def keep(self, path: Path) -> None:
        """Take a checkpoint over from the runner. A failure costs only the work since the one before."""
        self._made += 1
        key = keys.checkpoint_key(self._job.id, self._job.fence, self._made)
        try:
            with path.open("rb") as stream:
                self._blobs.put(key, stream)
            if not self._ledger.checkpoint(key):
                return
            self._kept.append(key)
            for old in self._kept[:-CHECKPOINTS_KEPT]:
                self._blobs.delete(old)
            self._kept = self._kept[-CHECKPOINTS_KEPT:]
        except (StorageError, OSError) as error:
            log.warning("checkpoint not stored", error=str(error))
        finally:
            path.unlink(missing_ok=True)


def fetch(blobs: BlobStore, key: str, path: Path) -> None:
    """Copy a blob into the scratch folder.

    Raises:
        BlobNotFoundError: nothing is stored under the key.
        StorageFullError: the copy could not be written.
    """
    with blobs.open(key) as stored:
        try:
            with path.open("wb") as copy:
                shutil.copyfileobj(stored, copy)
        except OSError as error:
            raise StorageFullError(f"cannot copy {key} to {path.parent}: {error.strerror}") from error
