"""What a worker does about weights when it starts."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import structlog
from pydantic import ValidationError
from structlog.testing import capture_logs

from tests.workers.backbones.weights.conftest import CONTENT
from tests.workers.backbones.weights.hub_server import PATIENCE_S, HubServer, Repository
from workers.backbones.weights.bringing import bring_weights
from workers.settings import WorkerSettings

HERE, ABSENT = "timm/vit_small_patch8_224.dino", "timm/vit_small_patch16_224.dino"


@pytest.fixture(autouse=True)
def all_levels_are_logged() -> Iterator[None]:
    """Undo what other tests of the session have configured, while these run."""
    before = structlog.get_config()
    structlog.reset_defaults()
    yield
    structlog.configure(**before)


@pytest.fixture
def hub_with_dino(hub: HubServer) -> HubServer:
    """Give a hub that has one of the catalogue's networks; its content is small."""
    hub.repositories[HERE] = Repository({"model.safetensors": CONTENT})
    return hub


def test_what_cannot_be_brought_is_logged_and_the_rest_is_brought(hub_with_dino: HubServer, folder: Path) -> None:
    with capture_logs() as logs:
        bring_weights(["dino_vits16", "dino_vits8", "dense_descriptor"], folder, download=True)
    assert (folder / "dino_vits8/model.safetensors").read_bytes() == CONTENT
    (error,) = (line for line in logs if line["log_level"] == "error")
    assert error["weights"] == "dino_vits16"
    assert f"the hub knows no {hub_with_dino.url}/{ABSENT}" in error["error"]
    assert [line["event"] for line in logs if line.get("weights") == "dino_vits8"] == [
        "bringing weights",
        "weights are here",
    ]


def test_without_leave_to_download_nothing_is_asked(hub_with_dino: HubServer, folder: Path) -> None:
    with capture_logs() as logs:
        bring_weights(["dino_vits8"], folder, download=False)
    assert "congeal weights pull dino_vits8" in logs[0]["error"]
    assert hub_with_dino.downloads == []
    assert not folder.exists()


def test_what_is_here_is_not_spoken_of(hub_with_dino: HubServer, folder: Path) -> None:
    bring_weights(["dino_vits8"], folder, download=True)
    hub_with_dino.downloads.clear()
    with capture_logs() as logs:
        bring_weights(["dino_vits8"], folder, download=True)
    assert logs == []
    assert hub_with_dino.downloads == []


def test_backbones_come_as_a_list_with_commas(monkeypatch: pytest.MonkeyPatch) -> None:
    assert WorkerSettings().backbones == []
    monkeypatch.setenv("CONGEAL_BACKBONES", "dinov2_vitb14_reg, sd15+dinov2_vitb14,")
    assert WorkerSettings().backbones == ["dinov2_vitb14_reg", "sd15+dinov2_vitb14"]
    monkeypatch.setenv("CONGEAL_BACKBONES", "dino_vits8,vgg16")
    assert WorkerSettings().backbones == ["dino_vits8", "vgg16"]


def test_an_unknown_backbone_is_refused_with_what_there_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CONGEAL_BACKBONES", "dinov2_vitb14,resnet")
    with pytest.raises(ValidationError, match=r"(?s)backbones.*'resnet'.*dense_descriptor"):
        WorkerSettings()


def test_a_worker_brings_weights_before_it_starts(hub_with_dino: HubServer, folder: Path, tmp_path: Path) -> None:
    environment = {
        **os.environ,
        "HF_ENDPOINT": hub_with_dino.url,
        "HF_HOME": str(tmp_path / "home"),
        "CONGEAL_BACKBONES": "dino_vits16,dino_vits8",
        "CONGEAL_WEIGHTS_DIR": str(folder),
        "CONGEAL_DATA_DIR": str(tmp_path / "data"),
        "TMPDIR": str(tmp_path),
    }
    worker = subprocess.Popen([sys.executable, "-m", "workers"], env=environment, stderr=subprocess.PIPE, text=True)
    assert worker.stderr is not None
    events = []
    for line in worker.stderr:
        events.append(json.loads(line)["event"])
        if events[-1] == "worker starts":
            break
    worker.terminate()
    worker.communicate(timeout=PATIENCE_S)
    assert events == [
        "bringing weights",
        "weights could not be brought; the worker goes on without them",
        "bringing weights",
        "weights are here",
        "worker starts",
    ]
    assert (folder / "dino_vits8/model.safetensors").is_file()
