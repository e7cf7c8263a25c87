"""Weights come from the hub whole and verified."""

import hashlib
import subprocess
from pathlib import Path

import pytest

from api_schemas.weights import WeightsEntry
from tests.workers.backbones.weights.conftest import CONFIG, CONTENT
from tests.workers.backbones.weights.hub_server import HubServer
from workers.backbones.weights.checksums import SUMS_NAME
from workers.backbones.weights.finding import find_entry
from workers.backbones.weights.folder import WeightsError, open_entry
from workers.backbones.weights.pull import STAGING, pull_entry

BOTH = {"net/model.safetensors": CONTENT, "net/config.json": CONFIG}


def contents(folder: Path) -> dict[str, bytes]:
    """All files of a folder but the recorded sums."""
    files = [path for path in folder.rglob("*") if path.is_file() and path.name != SUMS_NAME]
    return {str(path.relative_to(folder)): path.read_bytes() for path in files}


def test_into_a_folder(hub: HubServer, entry: WeightsEntry, folder: Path) -> None:
    assert pull_entry("tiny", entry, folder) == folder / "tiny"
    assert contents(folder / "tiny") == BOTH
    assert [path.name for path in (folder / STAGING).iterdir()] == ["tiny.lock"]
    assert open_entry("tiny", entry, folder).path == folder / "tiny"
    assert len(hub.downloads) == 2


def test_the_recorded_sums_are_such_as_coreutils_check(hub: HubServer, entry: WeightsEntry, folder: Path) -> None:
    pull_entry("tiny", entry, folder)
    sums = (folder / "tiny" / SUMS_NAME).read_text().splitlines()
    assert sums == [f"{hashlib.sha256(BOTH[path]).hexdigest()}  {path}" for path in sorted(BOTH)]
    subprocess.run(["sha256sum", "--check", "--strict", SUMS_NAME], cwd=folder / "tiny", check=True)
    assert len(hub.downloads) == 2


def test_into_the_hubs_cache(hub: HubServer, entry: WeightsEntry, folder: Path) -> None:
    place = pull_entry("tiny", entry, None)
    assert contents(place) == BOTH
    assert find_entry("tiny", entry, folder) == place
    assert len(hub.downloads) == 2


@pytest.mark.parametrize("own", [True, False], ids=["folder", "cache"])
def test_what_is_here_is_not_brought_again_unless_forced(
    hub: HubServer, entry: WeightsEntry, folder: Path, own: bool
) -> None:
    weights_dir = folder if own else None
    place = pull_entry("tiny", entry, weights_dir)
    assert pull_entry("tiny", entry, weights_dir) == place
    assert len(hub.downloads) == 2
    (place / "net/model.safetensors").resolve().write_bytes(b"damaged")
    assert pull_entry("tiny", entry, weights_dir, force=True) == place
    assert contents(place) == BOTH
    assert open_entry("tiny", entry, weights_dir)


def test_weights_that_are_here_need_neither_the_hub_nor_rights(
    hub: HubServer, entry: WeightsEntry, folder: Path
) -> None:
    pull_entry("tiny", entry, folder)
    (folder / STAGING / "tiny.lock").unlink()
    (folder / STAGING).rmdir()
    hub.repositories.clear()
    assert pull_entry("tiny", entry, folder) == folder / "tiny"
    assert not (folder / STAGING).exists()


def test_only_what_is_missing_or_wrong_is_brought(hub: HubServer, entry: WeightsEntry, folder: Path) -> None:
    place = pull_entry("tiny", entry, folder)
    hub.downloads.clear()
    (place / "net/config.json").unlink()
    pull_entry("tiny", entry, folder)
    assert hub.downloads == ["net/config.json@0"]
    (place / "net/config.json").unlink()
    (place / "net/model.safetensors").write_bytes(b"damaged")
    pull_entry("tiny", entry, folder)
    assert contents(place) == BOTH


@pytest.mark.parametrize("own", [True, False], ids=["folder", "cache"])
def test_a_connection_that_breaks_off_is_taken_up_where_it_broke(
    hub: HubServer, entry: WeightsEntry, folder: Path, monkeypatch: pytest.MonkeyPatch, own: bool
) -> None:
    monkeypatch.setattr("huggingface_hub.constants.DOWNLOAD_CHUNK_SIZE", 1000)  # what is lost of a broken connection
    hub.repositories["tiny/net"].cuts = 1
    place = pull_entry("tiny", entry, folder if own else None)
    assert contents(place) == BOTH
    start, resumed = (int(download.partition("@")[2]) for download in hub.downloads if "model" in download)
    assert start == 0
    assert len(CONTENT) // 2 - 1000 < resumed <= len(CONTENT) // 2


@pytest.mark.parametrize("own", [True, False], ids=["folder", "cache"])
def test_what_the_hub_itself_calls_otherwise_is_deleted(
    hub: HubServer, entry: WeightsEntry, folder: Path, tmp_path: Path, own: bool
) -> None:
    weights_dir = folder if own else None
    hub.repositories["tiny/net"].promised["net/model.safetensors"] = b"something else"
    promised, sent = (hashlib.sha256(content).hexdigest() for content in (b"something else", CONTENT))
    with pytest.raises(WeightsError, match=rf"with SHA-256 {sent}, but it should be {promised}; it was deleted"):
        pull_entry("tiny", entry, weights_dir)
    assert find_entry("tiny", entry, weights_dir) is None
    assert not any(path.stat().st_size == len(CONTENT) for path in tmp_path.rglob("*") if path.is_file())
    hub.repositories["tiny/net"].promised.clear()
    assert contents(pull_entry("tiny", entry, weights_dir)) == BOTH


@pytest.mark.parametrize("own", [True, False], ids=["folder", "cache"])
def test_what_the_catalogue_pins_otherwise_is_not_even_brought(
    hub: HubServer, entry: WeightsEntry, folder: Path, own: bool
) -> None:
    first, second = entry.files
    pinned = entry.model_copy(update={"files": (first.model_copy(update={"sha256": "1" * 64}), second)})
    with pytest.raises(WeightsError, match=rf"the catalogue pins {'1' * 64}; it was not brought"):
        pull_entry("tiny", pinned, folder if own else None)
    assert hub.downloads == []


def test_a_small_file_is_held_against_its_pin(hub: HubServer, entry: WeightsEntry, folder: Path) -> None:
    first, second = entry.files
    pinned = entry.model_copy(update={"files": (first, second.model_copy(update={"sha256": "1" * 64}))})
    with pytest.raises(WeightsError, match=r"net/config\.json.*should be 1111"):
        pull_entry("tiny", pinned, folder)
    assert not (folder / "tiny").exists()
    assert len(hub.downloads) == 2
