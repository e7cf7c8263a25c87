"""What a store of bytes can do."""

from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Protocol


@dataclass(frozen=True, kw_only=True)
class Stored:
    """What was written."""

    bytes: int
    sha256: str


@dataclass(frozen=True, kw_only=True)
class BlobStat:
    """What is there."""

    bytes: int


class BlobStore(Protocol):
    """Bytes under keys; a key holds nothing or a whole blob, never a part of one.

    Every method raises `InvalidKeyError` for a key that breaks the grammar of `storage.blobs.keys`.
    """

    def put(self, key: str, stream: BinaryIO | bytes) -> Stored:
        """Write the blob whole, replacing what was there; on any error the key is as it was before.

        Raises:
            StorageFullError: no space is left.
        """
        ...

    def open(self, key: str) -> BinaryIO:
        """Open the blob for reading; seekable.

        Raises:
            BlobNotFoundError: nothing is stored under the key.
        """
        ...

    def path(self, key: str) -> AbstractContextManager[Path]:
        """Give a local file with the blob's bytes, to read or memory-map within the block.

        Raises:
            BlobNotFoundError: nothing is stored under the key.
        """
        ...

    def stat(self, key: str) -> BlobStat | None:
        """Return the blob's size, or None when there is none."""
        ...

    def exists(self, key: str) -> bool:
        """Tell whether a blob is stored under the key."""
        ...

    def delete(self, key: str) -> None:
        """Remove the blob; fine when there is none."""
        ...

    def delete_prefix(self, prefix: str) -> None:
        """Remove all blobs whose keys begin with `prefix + "/"`; fine when there are none."""
        ...
