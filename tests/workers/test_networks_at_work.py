"""A job on a network whose weights lie in the worker's folder, through the real runner."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import timm
import torch
from safetensors.torch import save_file

from api_schemas.events import EventType
from api_schemas.jobs import JobState
from api_schemas.weights import weights_catalogue
from storage.database.repositories.coordination import WorkerRepository
from tests.workers.conftest import Crew
from tests.workers.workplace import Workplace, noise_pictures
from workers.settings import WorkerSettings

NETWORK = "dino_vits16"
EXTRA = "vgg16"
"""Weights that are no backbone's."""
PARAMS = {"backbone": NETWORK, "working_size": 96, "features": {"layer": 2, "facet": "token", "stride": 16}}


@pytest.fixture(scope="module")
def weights_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("weights")
    model = timm.create_model(weights_catalogue()[NETWORK].architecture, num_classes=0)
    (folder / NETWORK).mkdir()
    save_file(model.state_dict(), folder / NETWORK / "model.safetensors")
    (folder / EXTRA).mkdir()
    save_file({"features.0.bias": torch.zeros(64)}, folder / EXTRA / "model.safetensors")
    return folder


@pytest.fixture(scope="module")
def equipped(tmp_path_factory: pytest.TempPathFactory, weights_dir: Path) -> Iterator[tuple[Crew, Workplace]]:
    data_dir = tmp_path_factory.mktemp("data")
    place = Workplace.open(WorkerSettings(data_dir=data_dir, device="cpu", threads=1, weights_dir=weights_dir))
    crew = Crew(place)
    crew.supervisor.warm_up()
    yield crew, place
    crew.supervisor.close()
    place.database.dispose()


def test_a_network_is_announced_and_used_and_its_features_kept(equipped: tuple[Crew, Workplace]) -> None:
    crew, place = equipped
    with place.database.transaction(read_only=True) as session:
        workers = WorkerRepository(session)
        assert NETWORK in workers.backbones()
        assert EXTRA not in workers.backbones()
        assert {NETWORK, EXTRA} <= set(workers.weights())
        assert "sd15" not in workers.weights()
    images = place.upload(noise_pictures(3))
    digests = []
    for _ in range(2):
        job_id = place.submit(images, "nearest_neighbors", **PARAMS)
        crew.work()
        job = place.job(job_id)
        assert job.state is JobState.SUCCEEDED, job.error
        manifest = place.manifest(job_id)
        assert manifest.backbone == NETWORK
        assert manifest.backbone_identity is not None
        assert {NETWORK, "layer=2", "stride=16", "dtype=torch.float32"} <= set(manifest.backbone_identity.split())
        digests.append({artifact.name: artifact.sha256 for artifact in place.artifacts(job_id)})
    assert digests[0] == digests[1]
    assert any("3 of 3" in str(event.data["message"]) for event in place.events(job_id) if event.type is EventType.LOG)


def test_weights_that_were_damaged_meanwhile_fail_the_job_by_name(
    equipped: tuple[Crew, Workplace], weights_dir: Path
) -> None:
    _, place = equipped
    path = weights_dir / NETWORK / "model.safetensors"
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    crew = Crew(place)
    try:
        job_id = place.submit(place.upload(noise_pictures(2)), "nearest_neighbors", **PARAMS)
        crew.work()
    finally:
        crew.supervisor.close()
        path.write_bytes(whole)
    error = place.job(job_id).error
    assert error is not None
    assert error["code"] == "weights-unusable"
    assert "model.safetensors" in str(error["detail"])
