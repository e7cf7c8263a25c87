from collections.abc import Iterator
from pathlib import Path

import pytest
from pydantic import JsonValue

from api_schemas.jobs import Job, JobState
from client.processes import EmbeddedService
from client.sdk import Congeal
from tests.client.pictures import write_pictures

SMALL: dict[str, JsonValue] = {"working_size": 128, "similarity_steps": 10, "flow_steps": 10, "flips": "off"}


@pytest.fixture(scope="session")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedService]:
    """A real API and a real worker on a free port, with SQLite and files in a temporary folder."""
    folder = tmp_path_factory.mktemp("congeal")
    alone = {"CONGEAL_DATABASE_URL": "", "CONGEAL_BROKER_URL": "", "CONGEAL_THREADS": "1"}
    with EmbeddedService(
        host="127.0.0.1", port=0, data_dir=folder / "data", logs=folder / "logs", environment=alone
    ) as service:
        service.wait_until_ready()
        yield service


@pytest.fixture(scope="session")
def sdk(running: EmbeddedService) -> Iterator[Congeal]:
    with Congeal(running.url) as congeal:
        yield congeal


@pytest.fixture(scope="session")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    return write_pictures(tmp_path_factory.mktemp("pictures"), 3)


@pytest.fixture(scope="session")
def finished(sdk: Congeal, pictures: list[Path]) -> Job:
    """A small job that has succeeded."""
    job = sdk.submit("neural_congealing", paths=[*pictures], params=SMALL, name="small")
    job = sdk.wait(job, timeout_s=120)
    assert job.state is JobState.SUCCEEDED, job.error
    return job
