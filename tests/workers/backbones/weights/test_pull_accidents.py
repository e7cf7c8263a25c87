"""Processes that pull at the same time, and processes that die of it."""

import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from api_schemas.weights import WeightsEntry
from tests.workers.backbones.weights.conftest import CONTENT
from tests.workers.backbones.weights.hub_server import PATIENCE_S, HubServer
from workers.backbones.weights.finding import find_entry
from workers.backbones.weights.folder import open_entry
from workers.backbones.weights.pull import pull_entry

SCRIPT = """
import sys
from pathlib import Path
from api_schemas.weights import WeightsEntry
from workers.backbones.weights.pull import pull_entry
weights_dir = Path(sys.argv[2]) if sys.argv[2] else None
pull_entry("tiny", WeightsEntry.model_validate_json(sys.argv[1]), weights_dir)
"""

pytestmark = pytest.mark.parametrize("own", [True, False], ids=["folder", "cache"])


class Gate:
    """Holds downloads in the middle until it is opened."""

    def __init__(self, hub: HubServer) -> None:
        self.arrived = threading.Event()
        self._opened = threading.Event()
        hub.repositories["tiny/net"].on_half = self._pass

    def _pass(self) -> None:
        self.arrived.set()
        self._opened.wait(PATIENCE_S)

    def open(self) -> None:
        self._opened.set()


def start_pull(hub: HubServer, entry: WeightsEntry, weights_dir: Path | None, home: Path) -> subprocess.Popen[bytes]:
    """Pull in a process of its own; `home` is where its cache is `hub`."""
    environment = {**os.environ, "HF_ENDPOINT": hub.url, "HF_HOME": str(home), "NO_PROXY": "127.0.0.1,localhost"}
    command = [sys.executable, "-c", SCRIPT, entry.model_dump_json(), str(weights_dir or "")]
    return subprocess.Popen(command, env=environment, stderr=subprocess.PIPE)


def test_two_at_once_both_end_well_with_one_download(
    hub: HubServer, entry: WeightsEntry, folder: Path, tmp_path: Path, own: bool
) -> None:
    weights_dir, gate = folder if own else None, Gate(hub)
    processes = [start_pull(hub, entry, weights_dir, tmp_path) for _ in range(2)]
    assert gate.arrived.wait(PATIENCE_S)
    assert find_entry("tiny", entry, weights_dir) is None
    gate.open()
    for process in processes:
        _, told = process.communicate(timeout=PATIENCE_S)
        assert process.returncode == 0, told.decode()
        assert told == b""
    assert open_entry("tiny", entry, weights_dir)
    assert sorted(hub.downloads) == ["net/config.json@0", "net/model.safetensors@0"]


def test_one_that_is_killed_leaves_nothing_that_counts_as_weights(
    hub: HubServer, entry: WeightsEntry, folder: Path, tmp_path: Path, own: bool
) -> None:
    weights_dir, gate = folder if own else None, Gate(hub)
    process = start_pull(hub, entry, weights_dir, tmp_path)
    assert gate.arrived.wait(PATIENCE_S)
    process.kill()
    process.communicate()
    gate.open()
    assert find_entry("tiny", entry, weights_dir) is None
    assert list(tmp_path.rglob("*.incomplete"))
    place = pull_entry("tiny", entry, weights_dir)
    assert (place / "net/model.safetensors").read_bytes() == CONTENT
    assert list(tmp_path.rglob("*.incomplete")) == []
