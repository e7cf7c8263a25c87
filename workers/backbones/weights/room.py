"""A place to write weights to: rights, room, and one writer at a time."""

import errno
import fcntl
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from api_schemas.weights import size_text
from workers.backbones.weights.errors import WeightsError


@contextmanager
def writing_to(folder: Path, *, setting: str) -> Iterator[None]:
    """Make a folder, make sure that this user may write there, and explain what goes wrong with it in the block.

    Args:
        folder: where weights are to come.
        setting: environment variable that names another folder.

    Raises:
        WeightsError: no rights, no room, or no folder.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise WeightsError(
                f"no room is left for weights in {folder} ({size_text(_free(folder))} are free); free some, or name "
                f"another folder with {setting}"
            ) from error
        raise WeightsError(
            f"weights cannot be written into {folder}: {error.strerror or error}; change its rights, or name another "
            f"folder with {setting}"
        ) from error


def ensure_room(folder: Path, needed: int, *, setting: str) -> None:
    """Raise WeightsError when fewer than `needed` bytes are free where a folder lies."""
    free = _free(folder)
    if free < needed:
        raise WeightsError(
            f"no room for weights in {folder}: {size_text(needed)} are needed, {size_text(free)} are free; free some, "
            f"or name another folder with {setting}"
        )


@contextmanager
def alone(lock: Path) -> Iterator[None]:
    """Wait until no other process is in a block with the same lock; a process that dies leaves it."""
    lock.parent.mkdir(parents=True, exist_ok=True)
    with lock.open("ab") as stream:
        fcntl.flock(stream, fcntl.LOCK_EX)
        yield


def _free(folder: Path) -> int:
    return shutil.disk_usage(folder).free
