"""A disk that is soon full."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.disks import small_disk

TINY_DISK_BYTES = 2 << 20


@pytest.fixture
def tiny_disk(tmp_path: Path) -> Iterator[Path]:
    """Mount a file system of 2 MiB; needs the right to mount."""
    folder = tmp_path / "tiny"
    with small_disk(folder, TINY_DISK_BYTES):
        yield folder
