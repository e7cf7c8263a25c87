"""Everything that can go wrong in storage, in one tree."""


class StorageError(Exception):
    """Base of all errors of this package."""


class StorageFullError(StorageError):
    """The disk, the quota or the file size limit is used up; nothing half-written was left behind."""


class StorageUnavailableError(StorageError):
    """The database cannot be reached or stays locked; another try later makes sense."""


class BlobNotFoundError(StorageError):
    """There is no blob under the key."""

    def __init__(self, key: str) -> None:
        super().__init__(f"no blob is stored under {key!r}")
        self.key = key


class InvalidKeyError(StorageError, ValueError):
    """The key does not follow the grammar of blob keys, or would leave the store."""

    def __init__(self, key: str) -> None:
        super().__init__(
            f"{key!r} is no blob key; a key is segments joined by '/', each of lower-case letters, digits, "
            "'_', '.' and '-', none beginning with '.' or '-'"
        )
        self.key = key
