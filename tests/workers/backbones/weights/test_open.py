"""Weights are found in their order, and vouched for before they are used."""

import hashlib
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from api_schemas.weights import WeightsEntry
from tests.workers.backbones.weights.conftest import CONFIG, CONTENT
from workers.backbones.weights.checksums import SUMS_NAME
from workers.backbones.weights.finding import find_entry
from workers.backbones.weights.folder import WeightsError, open_entry, open_weights
from workers.backbones.weights.pull import pull_entry

SHA256 = hashlib.sha256(CONTENT).hexdigest()
NOBODY = 65534

pytestmark = pytest.mark.usefixtures("hub")


def lay(folder: Path, content: bytes = CONTENT) -> Path:
    """Put the small network into a folder by hand."""
    (folder / "tiny/net").mkdir(parents=True)
    (folder / "tiny/net/model.safetensors").write_bytes(content)
    (folder / "tiny/net/config.json").write_bytes(CONFIG)
    return folder / "tiny"


def pinned(entry: WeightsEntry, sha256: str) -> WeightsEntry:
    """Pin the first file of an entry."""
    first, *others = entry.files
    return entry.model_copy(update={"files": (first.model_copy(update={"sha256": sha256}), *others)})


def test_the_weights_folder_comes_before_the_hubs_cache(entry: WeightsEntry, folder: Path) -> None:
    assert find_entry("tiny", entry, folder) is None
    cached = pull_entry("tiny", entry, None)
    assert find_entry("tiny", entry, folder) == cached
    own = lay(folder)
    assert find_entry("tiny", entry, folder) == own
    (own / "net/config.json").unlink()
    assert find_entry("tiny", entry, folder) == cached


def test_files_without_any_known_sum_are_taken_as_they_are(entry: WeightsEntry, folder: Path) -> None:
    lay(folder)
    opened = open_entry("tiny", entry, folder)
    sums = SHA256 + hashlib.sha256(CONFIG).hexdigest()
    assert opened.digest == hashlib.sha256(sums.encode()).hexdigest()


def test_a_pinned_sum_counts_before_a_recorded_one(entry: WeightsEntry, folder: Path) -> None:
    path = lay(folder)
    (path / SUMS_NAME).write_text(f"{'0' * 64}  net/model.safetensors\n")
    assert open_entry("tiny", pinned(entry, SHA256), folder).path == path
    with pytest.raises(WeightsError, match=rf"damaged: their SHA-256 is {SHA256}, the catalogue says {'1' * 64}"):
        open_entry("tiny", pinned(entry, "1" * 64), folder)


def test_a_recorded_sum_that_does_not_hold_names_both_sums_and_the_remedy(entry: WeightsEntry, folder: Path) -> None:
    path = pull_entry("tiny", entry, folder)
    file = path / "net/model.safetensors"
    file.write_bytes(CONTENT[:-1] + b"x")
    found = hashlib.sha256(file.read_bytes()).hexdigest()
    with pytest.raises(WeightsError) as caught:
        open_entry("tiny", entry, folder)
    for part in (str(file), found, f"SHA256SUMS says {SHA256}", "`congeal weights pull tiny --force`", "delete"):
        assert part in str(caught.value)


@pytest.mark.parametrize("line", ["no sum at all", f"{'A' * 64}  net/model.safetensors"])
def test_recorded_sums_that_make_no_sense_are_not_ignored(entry: WeightsEntry, folder: Path, line: str) -> None:
    (lay(folder) / SUMS_NAME).write_text(line)
    with pytest.raises(WeightsError, match="SHA256SUMS, line 1"):
        open_entry("tiny", entry, folder)


def test_the_hubs_cache_vouches_by_the_name_of_its_blobs(entry: WeightsEntry) -> None:
    path = pull_entry("tiny", entry, None) / "net/model.safetensors"
    assert open_entry("tiny", entry, None).path == path.parents[1]
    blob = path.resolve()
    blob.write_bytes(CONTENT[:-1] + b"x")
    with pytest.raises(WeightsError, match=rf"damaged.*the hub's cache says {SHA256}"):
        open_entry("tiny", entry, None)


def test_a_blob_shared_between_repositories_has_a_name_that_is_no_sum(entry: WeightsEntry) -> None:
    path = pull_entry("tiny", entry, None) / "net/model.safetensors"
    blob = path.resolve()
    shared = blob.parents[2] / "blobs" / "ab" / ("ab" * 32)
    shared.parent.mkdir(parents=True)
    blob.rename(shared)
    blob.symlink_to(os.path.relpath(shared, blob.parent))
    assert open_entry("tiny", entry, None).path == path.parents[1]


def test_missing_weights_name_their_source_size_and_remedy(folder: Path) -> None:
    with pytest.raises(
        WeightsError, match=r"dino_vits8.*87 MB from timm/.*Apache-2.0.*`congeal weights pull dino_vits8`"
    ):
        open_weights("dino_vits8", folder)


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """Give a folder that every user can reach."""
    path = Path(tempfile.mkdtemp(prefix="congeal-weights-"))
    path.chmod(0o755)
    yield path
    shutil.rmtree(path)


@contextmanager
def plain_user() -> Iterator[None]:
    """Be a user whom rights bind."""
    before = os.geteuid()
    try:
        os.seteuid(before or NOBODY)
    except OSError as error:
        pytest.skip(f"rights do not bind this user, and it cannot become another: {error}")
    try:
        yield
    finally:
        os.seteuid(before)


def test_what_may_not_be_read_is_told_as_that(entry: WeightsEntry, open_folder: Path) -> None:
    path = lay(open_folder)
    (path / "net/model.safetensors").chmod(0)
    with (
        plain_user(),
        pytest.raises(WeightsError, match=r"net/model\.safetensors may not be read by this user; change"),
    ):
        open_entry("tiny", entry, open_folder)
    path.chmod(0)
    with plain_user(), pytest.raises(WeightsError, match=rf"folder {path} may not be read by this user"):
        open_entry("tiny", entry, open_folder)
    path.chmod(0o755)
