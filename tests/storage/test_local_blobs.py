"""The local blob store: whole blobs or none, inside its folder."""

import hashlib
import io
import multiprocessing
import resource
import threading
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from storage.blobs.base import BlobStat, BlobStore, Stored
from storage.blobs.keys import (
    artifact_key,
    check_key,
    checkpoint_key,
    checkpoints_prefix,
    image_key,
    job_prefix,
    manifest_key,
)
from storage.blobs.local import CHUNK_BYTES, LocalBlobStore
from storage.errors import BlobNotFoundError, InvalidKeyError, StorageError, StorageFullError

KEY = "jobs/job_1/attempt-1/maps/000.safetensors"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "blobs"


@pytest.fixture
def store(root: Path) -> BlobStore:
    return LocalBlobStore(root)


def files(root: Path) -> set[str]:
    return {str(path.relative_to(root)) for path in root.rglob("*") if path.is_file()}


@pytest.mark.parametrize("size", [0, 1, CHUNK_BYTES, CHUNK_BYTES + 1])
@pytest.mark.parametrize("as_stream", [True, False])
def test_what_is_put_is_what_is_read(store: BlobStore, root: Path, size: int, as_stream: bool) -> None:
    content = bytes(range(256)) * (size // 256) + b"x" * (size % 256)
    stored = store.put(KEY, io.BytesIO(content) if as_stream else content)
    assert stored == Stored(bytes=size, sha256=hashlib.sha256(content).hexdigest())
    with store.open(KEY) as stream:
        assert stream.read() == content
    with store.path(KEY) as path:
        assert path.read_bytes() == content
    assert store.stat(KEY) == BlobStat(bytes=size)
    assert store.exists(KEY)
    assert files(root) == {KEY}, "no temporary file is left"


def test_a_blob_can_be_read_from_the_middle(store: BlobStore) -> None:
    store.put(KEY, b"0123456789")
    with store.open(KEY) as stream:
        stream.seek(4)
        assert stream.read(3) == b"456"


@pytest.mark.parametrize("key", [KEY, "jobs/job_1", "jobs/job_1/attempt-1/a/below_a_file"])
def test_a_missing_blob_is_told(store: BlobStore, key: str) -> None:
    store.put("jobs/job_1/attempt-1/a", b"a")
    assert store.stat(key) is None
    assert not store.exists(key)
    with pytest.raises(BlobNotFoundError, match=key):
        store.open(key)
    with pytest.raises(BlobNotFoundError), store.path(key):
        pass
    store.delete("jobs/job_1/attempt-1/missing")


def test_deleting_takes_the_blob_or_all_under_a_prefix(store: BlobStore, root: Path) -> None:
    for key in ("jobs/a/1", "jobs/a/b/2", "jobs/ab/3"):
        store.put(key, b"x")
    store.delete("jobs/a/1")
    assert files(root) == {"jobs/a/b/2", "jobs/ab/3"}
    store.delete_prefix("jobs/a")
    store.delete_prefix("jobs/never")
    assert files(root) == {"jobs/ab/3"}


class BrokenStream(io.BytesIO):
    """A client that goes away in the middle."""

    def read(self, size: int | None = -1) -> bytes:
        """Give one chunk, then break."""
        if self.tell():
            raise ConnectionResetError("the client went away")
        return super().read(size)


def test_a_broken_upload_leaves_what_was_there(store: BlobStore, root: Path) -> None:
    store.put(KEY, b"before")
    for key in (KEY, "images/new"):
        with pytest.raises(ConnectionResetError):
            store.put(key, BrokenStream(b"x" * 3 * CHUNK_BYTES))
    assert files(root) == {KEY}
    with store.open(KEY) as stream:
        assert stream.read() == b"before"


def test_readers_see_whole_blobs_while_writers_replace_them(store: BlobStore) -> None:
    contents = [bytes([number]) * 200_000 for number in range(2)]
    store.put(KEY, contents[0])
    done = threading.Event()

    def write() -> None:
        for number in range(20):
            store.put(KEY, contents[number % 2])
        done.set()

    writers = [threading.Thread(target=write) for _ in range(2)]
    for writer in writers:
        writer.start()
    reads = 0
    while not done.is_set() or reads == 0:
        with store.open(KEY) as stream:
            assert stream.read() in contents
        reads += 1
    for writer in writers:
        writer.join()


def test_a_full_disk_leaves_nothing_behind(tiny_disk: Path) -> None:
    store = LocalBlobStore(tiny_disk)
    store.put("jobs/kept", b"k" * 100_000)
    with pytest.raises(StorageFullError, match="free some space"):
        store.put("jobs/too_large", io.BytesIO(b"x" * (4 << 20)))
    with pytest.raises(StorageFullError):
        store.put("jobs/kept", io.BytesIO(b"x" * (4 << 20)))
    assert files(tiny_disk) == {"jobs/kept"}
    with store.open("jobs/kept") as stream:
        assert stream.read() == b"k" * 100_000
    store.put("jobs/fits", b"x" * 100_000)


def put_under_a_limit(root: Path) -> None:
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))
    store = LocalBlobStore(root)
    store.put("jobs/fits", b"x" * 4096)
    with pytest.raises(StorageFullError, match="jobs/too_large"):
        store.put("jobs/too_large", b"x" * 8192)


def test_a_file_size_limit_counts_as_full(root: Path) -> None:
    process = multiprocessing.get_context("spawn").Process(target=put_under_a_limit, args=(root,))
    process.start()
    process.join(timeout=60)
    assert process.exitcode == 0
    assert files(root) == {"jobs/fits"}


BAD_KEYS = [
    "",
    "/etc/passwd",
    "..",
    ".",
    "a/../b",
    "a/./b",
    "a//b",
    "a/",
    "A",
    "a b",
    "a\\b",
    "a\x00b",
    "é",
    "a\n",
    ".tmp-1",
    "-a",
    "a/.hidden",
    "x" * 201,
    "a/" * 300 + "a",
]


@pytest.mark.parametrize("key", BAD_KEYS)
def test_bad_keys_are_refused_by_every_call(store: BlobStore, root: Path, key: str) -> None:
    for call in (store.open, store.stat, store.exists, store.delete, store.delete_prefix):
        with pytest.raises(InvalidKeyError):
            call(key)
    with pytest.raises(InvalidKeyError):
        store.put(key, b"x")
    with pytest.raises(InvalidKeyError), store.path(key):
        pass
    assert files(root) == set()


@given(st.text(alphabet="abAB019_.-/\\~\x00 ", max_size=20))
def test_no_key_leads_out_of_the_folder(key: str) -> None:
    root = Path("/srv/blobs")
    try:
        check_key(key)
    except InvalidKeyError:
        return
    inside = Path(f"{root}/{key}").resolve()
    assert inside.is_relative_to(root)
    assert inside != root
    assert str(inside.relative_to(root)) == key


def test_keys_say_where_things_lie() -> None:
    digest = "ab" + "cd" + "0" * 60
    assert image_key(digest) == f"images/ab/cd/{digest}"
    assert artifact_key("job_1", 2, "maps/000.safetensors") == "jobs/job_1/attempt-2/maps/000.safetensors"
    assert manifest_key("job_1", 2) == "jobs/job_1/attempt-2/manifest.json"
    assert checkpoint_key("job_1", 2, 3) == "jobs/job_1/checkpoints/2-3.safetensors"
    assert checkpoint_key("job_1", 2, 3).startswith(checkpoints_prefix("job_1") + "/")
    assert checkpoints_prefix("job_1").startswith(job_prefix("job_1") + "/")


def test_all_errors_are_of_one_tree() -> None:
    assert issubclass(InvalidKeyError, StorageError)
    assert issubclass(BlobNotFoundError, StorageError)
    assert issubclass(StorageFullError, StorageError)
