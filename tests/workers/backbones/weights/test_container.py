"""The worker's container can write weights, and keeps them."""

import re
from pathlib import Path

import yaml

DOCKER = Path(__file__).parents[4] / "docker"
WORKER = yaml.safe_load((DOCKER / "compose.yaml").read_text(encoding="utf-8"))["services"]["worker"]


def test_weights_and_the_hubs_cache_lie_in_a_volume_of_the_user() -> None:
    stage = (DOCKER / "worker.Dockerfile").read_text(encoding="utf-8").rpartition("\nFROM ")[2]
    folders = [re.search(rf"{name}=(\S+)", stage) for name in ("CONGEAL_WEIGHTS_DIR", "HF_HOME")]
    owned = re.search(r"install --directory --owner congeal (.+)", stage)
    assert owned
    volumes = [volume.partition(":")[2] for volume in WORKER["volumes"]]
    for folder in folders:
        assert folder
        assert folder[1] in owned[1].split()
        assert any(folder[1] == volume or folder[1].startswith(f"{volume}/") for volume in volumes)


def test_what_to_bring_and_who_asks_come_from_the_shell() -> None:
    assert all(WORKER["environment"][name] is None for name in ("CONGEAL_BACKBONES", "HF_TOKEN", "HF_ENDPOINT"))
