"""Blobs as files in a folder."""

import errno
import hashlib
import io
import os
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO, Final

from storage.blobs.base import BlobStat, Stored
from storage.blobs.keys import check_key
from storage.errors import BlobNotFoundError, StorageFullError

CHUNK_BYTES: Final = 1 << 20
FULL_ERRNOS: Final = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
TEMPORARY_PREFIX: Final = ".tmp-"


class LocalBlobStore:
    """A `BlobStore` in a local folder, which is made when missing.

    A blob is written beside its place, synced, renamed onto it and the folder synced, so that neither a crash nor a
    power loss shows half a blob.
    """

    def __init__(self, root: Path) -> None:
        self._root = root
        root.mkdir(parents=True, exist_ok=True)

    def put(self, key: str, stream: BinaryIO | bytes) -> Stored:
        """Write the blob whole, replacing what was there."""
        target = self._file(key)
        source = io.BytesIO(stream) if isinstance(stream, bytes) else stream
        try:
            return self._write(target, source)
        except OSError as error:
            if error.errno in FULL_ERRNOS:
                raise StorageFullError(
                    f"no space to store {key!r} under {self._root} ({error.strerror}); free some space and try again"
                ) from error
            raise

    def open(self, key: str) -> BinaryIO:
        """Open the blob for reading."""
        try:
            return self._file(key).open("rb")
        except (FileNotFoundError, IsADirectoryError, NotADirectoryError) as error:
            raise BlobNotFoundError(key) from error

    @contextmanager
    def path(self, key: str) -> Iterator[Path]:
        """Give the blob's own file; it must not be written to."""
        file = self._file(key)
        if not file.is_file():
            raise BlobNotFoundError(key)
        yield file

    def stat(self, key: str) -> BlobStat | None:
        """Return the blob's size, or None when there is none."""
        file = self._file(key)
        return BlobStat(bytes=file.stat().st_size) if file.is_file() else None

    def exists(self, key: str) -> bool:
        """Tell whether a blob is stored under the key."""
        return self._file(key).is_file()

    def delete(self, key: str) -> None:
        """Remove the blob; fine when there is none."""
        with suppress(FileNotFoundError, NotADirectoryError):
            self._file(key).unlink()

    def delete_prefix(self, prefix: str) -> None:
        """Remove the folder of that name and all in it; fine when there is none."""
        with suppress(FileNotFoundError, NotADirectoryError):
            shutil.rmtree(self._file(prefix))

    def _file(self, key: str) -> Path:
        return self._root / check_key(key)

    def _write(self, target: Path, source: BinaryIO) -> Stored:
        _make_folders(target.parent, self._root)
        temporary = target.parent / f"{TEMPORARY_PREFIX}{secrets.token_hex(8)}"
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o644)
        try:
            with os.fdopen(descriptor, "wb") as sink:
                stored = _copy(source, sink)
                sink.flush()
                os.fsync(sink.fileno())
            os.replace(temporary, target)
        except BaseException:
            with suppress(FileNotFoundError):
                temporary.unlink()
            raise
        _sync_folder(target.parent)
        return stored


def _copy(source: BinaryIO, sink: BinaryIO) -> Stored:
    digest, size = hashlib.sha256(), 0
    while chunk := source.read(CHUNK_BYTES):
        digest.update(chunk)
        size += len(chunk)
        sink.write(chunk)
    return Stored(bytes=size, sha256=digest.hexdigest())


def _make_folders(folder: Path, root: Path) -> None:
    """Make the folder and those above it, each durable before anything is put into it."""
    missing = [path for path in (folder, *folder.parents) if path.is_relative_to(root) and not path.exists()]
    for path in reversed(missing):
        path.mkdir(exist_ok=True)
        _sync_folder(path.parent)


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
