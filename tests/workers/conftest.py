import os
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.workers.workplace import TINY_METHOD, Workplace, noise_pictures, runner_pids
from workers.settings import WorkerSettings
from workers.supervisor import Supervisor


@pytest.fixture(scope="session")
def tiny_method() -> Iterator[None]:
    """Let worker processes find the test method as an installed package."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", os.pathsep.join(filter(None, [str(TINY_METHOD), os.environ.get("PYTHONPATH")])))
        patch.syspath_prepend(str(TINY_METHOD))
        yield


@pytest.fixture(scope="module")
def workplace(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Workplace]:
    """A place with quick timers."""
    settings = WorkerSettings(
        data_dir=tmp_path_factory.mktemp("data"),
        device="cpu",
        threads=1,
        lease_s=3,
        heartbeat_s=0.2,
        control_poll_s=0.1,
        checkpoint_interval_s=0.1,
        cancel_grace_s=1,
        watchdog_s=2.5,
    )
    place = Workplace.open(settings)
    yield place
    place.database.dispose()


@pytest.fixture(scope="module")
def pictures(workplace: Workplace) -> str:
    """An image set."""
    return workplace.upload(noise_pictures(2))


class Crew:
    """A supervisor at work in a thread, with its real runner process."""

    def __init__(self, place: Workplace) -> None:
        self.woken: list[str] = []
        self.supervisor = Supervisor(place.settings, database=place.database, blobs=place.blobs, wake=self.woken.append)

    def work(self) -> None:
        """Do all queued jobs."""
        self.supervisor.work()

    def begin(self) -> threading.Thread:
        """Do all queued jobs in a thread."""
        thread = threading.Thread(target=self.supervisor.work, daemon=True)
        thread.start()
        return thread


@pytest.fixture(scope="module")
def crew(tiny_method: None, workplace: Workplace) -> Iterator[Crew]:
    """A supervisor whose runner stays warm over the tests of a module."""
    del tiny_method
    crew = Crew(workplace)
    crew.supervisor.warm_up()
    yield crew
    crew.supervisor.close()


def runner_pid() -> int:
    """Process id of the one runner that this process has."""
    (pid,) = runner_pids(os.getpid())
    return pid


def scratch_files(place: Workplace) -> list[Path]:
    """Files of jobs left in the scratch folder."""
    return [path for path in place.settings.resolved_scratch_dir.rglob("*") if path.is_file() and path.name != "lock"]
