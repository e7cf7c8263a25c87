"""What stands in the way of a download is told with its remedy, before anything is brought."""

from contextlib import suppress
from pathlib import Path

import pytest

from api_schemas.weights import WeightsEntry
from tests.disks import small_disk
from tests.workers.backbones.weights.conftest import CONTENT
from tests.workers.backbones.weights.hub_server import HubServer
from workers.backbones.weights.errors import HubRefusedError, HubUnreachableError, WeightsError
from workers.backbones.weights.finding import find_entry
from workers.backbones.weights.pull import pull_entry


@pytest.mark.parametrize(
    ("refusal", "told"),
    [
        ((401, "GatedRepo"), r"accept its license \(MIT\) on that page, then set HF_TOKEN"),
        ((403, "GatedRepo"), r"accept its license \(MIT\) on that page, then set HF_TOKEN"),
        ((403, ""), r"accept its license \(MIT\) on that page, then set HF_TOKEN"),
        ((401, ""), r"the hub knows no .*/tiny/net, or .*accept its license.*HF_TOKEN"),
        ((404, "RepoNotFound"), r"the hub knows no http.*/tiny/net$"),
        ((404, "RevisionNotFound"), r"tiny/net has no such file at revision 'main'"),
        ((404, "EntryNotFound"), r"no such file at revision 'main': http.*/net/model\.safetensors"),
        ((429, ""), "answered with HTTP status 429; try again later"),
    ],
)
def test_refusals(hub: HubServer, entry: WeightsEntry, folder: Path, refusal: tuple[int, str], told: str) -> None:
    hub.repositories["tiny/net"].refusal = refusal
    with pytest.raises(HubRefusedError, match=told):
        pull_entry("tiny", entry, folder)
    assert find_entry("tiny", entry, folder) is None


def test_a_hub_that_is_broken_counts_as_unreachable(hub: HubServer, entry: WeightsEntry, folder: Path) -> None:
    hub.repositories["tiny/net"].refusal = (503, "")
    with pytest.raises(HubUnreachableError, match="HTTP status 503; try again later"):
        pull_entry("tiny", entry, folder)


def test_no_server(hub: HubServer, entry: WeightsEntry, folder: Path) -> None:
    hub.__exit__()
    told = rf"no answer from {hub.url}/tiny/net, .*refused.*HF_ENDPOINT.*CONGEAL_WEIGHTS_DIR"
    with pytest.raises(HubUnreachableError, match=told):
        pull_entry("tiny", entry, folder)


def test_the_librarys_own_switch_is_named(
    hub: HubServer, entry: WeightsEntry, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(HubUnreachableError, match="HF_HUB_OFFLINE is set"):
        pull_entry("tiny", entry, folder)
    assert hub.downloads == []


def test_a_file_in_the_place_of_the_folder(hub: HubServer, entry: WeightsEntry, folder: Path) -> None:
    folder.write_text("")
    told = rf"weights cannot be written into {folder}: File exists.*CONGEAL_WEIGHTS_DIR"
    with pytest.raises(WeightsError, match=told):
        pull_entry("tiny", entry, folder)
    assert hub.downloads == []


def test_a_disk_that_is_too_small(hub: HubServer, entry: WeightsEntry, folder: Path) -> None:
    with small_disk(folder, len(CONTENT) // 2):
        told = rf"no room for weights in {folder}: 200 kB are needed, \d+(\.\d+)? kB are free.*CONGEAL_WEIGHTS_DIR"
        with pytest.raises(WeightsError, match=told):
            pull_entry("tiny", entry, folder)
        assert hub.downloads == []


def test_a_disk_that_somebody_else_fills_meanwhile(hub: HubServer, entry: WeightsEntry, folder: Path) -> None:
    with small_disk(folder, 2 * len(CONTENT)):
        hub.repositories["tiny/net"].on_half = lambda: fill(folder)
        with pytest.raises(WeightsError, match=rf"no room is left for weights in {folder} \(.* are free\)"):
            pull_entry("tiny", entry, folder)
        assert find_entry("tiny", entry, folder) is None
        (folder / "filler").unlink()
        hub.repositories["tiny/net"].on_half = None
        assert pull_entry("tiny", entry, folder) == folder / "tiny"


def fill(folder: Path) -> None:
    """Take all the room that is left."""
    with (folder / "filler").open("wb", buffering=0) as stream, suppress(OSError):
        while True:
            stream.write(bytes(4096))
