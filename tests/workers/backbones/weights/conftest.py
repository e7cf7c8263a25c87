"""A hub on this machine, and a small network in it."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from safetensors.torch import save

from api_schemas.weights import WeightsEntry, WeightsFile
from tests.workers.backbones.weights.hub_server import HubServer, Repository

CONTENT = save({"weight": torch.arange(50_000, dtype=torch.float32)})
CONFIG = b'{"layers": 1}\n'


@pytest.fixture
def entry() -> WeightsEntry:
    """Give a catalogue entry of two files, of which the catalogue pins none."""
    return WeightsEntry(
        hub="tiny/net",
        license="MIT",
        files=(
            WeightsFile(path="net/model.safetensors", bytes=len(CONTENT)),
            WeightsFile(path="net/config.json", bytes=len(CONFIG)),
        ),
    )


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[HubServer]:
    """Run a hub that has the small network; this process asks it, and has an empty cache."""
    with HubServer() as server:
        server.repositories["tiny/net"] = Repository({"net/model.safetensors": CONTENT, "net/config.json": CONFIG})
        monkeypatch.setenv("NO_PROXY", "127.0.0.1,localhost")
        monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", server.url)
        template = f"{server.url}/{{repo_id}}/resolve/{{revision}}/{{filename}}"
        monkeypatch.setattr("huggingface_hub.constants.HUGGINGFACE_CO_URL_TEMPLATE", template)
        monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
        yield server


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Give a folder for weights that is not there yet."""
    return tmp_path / "weights"
