"""A full disk, a runner that is replaced, a device that is not there."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from api_schemas.jobs import JobState
from tests.disks import small_disk
from tests.workers.conftest import Crew, runner_pid, scratch_files
from tests.workers.workplace import Workplace, runner_pids
from workers.protocol import StartCommand
from workers.runner import resolve_device
from workers.runner_process import RunnerLostError, RunnerProcess

RESULT_DISK_BYTES = 16 << 10


@pytest.fixture(scope="module")
def tight_crew(tiny_method: None, workplace: Workplace) -> Iterator[Crew]:
    del tiny_method
    settings = workplace.settings.model_copy(update={"runner_max_jobs": 2})
    crew = Crew(Workplace(settings, workplace.database, workplace.blobs))
    yield crew
    crew.supervisor.close()


def test_a_full_disk_fails_the_job_and_leaves_nothing(tight_crew: Crew, workplace: Workplace, pictures: str) -> None:
    with small_disk(workplace.settings.blobs_dir / "jobs", RESULT_DISK_BYTES):
        job_id = workplace.submit(pictures, steps=20, step_s=0.02)
        tight_crew.work()
        workplace.wait_for_files(job_id, under=None)
    job = workplace.job(job_id)
    assert (job.state, job.attempt) == (JobState.FAILED, 1)
    assert job.error is not None
    assert (job.error["code"], job.error["retryable"]) == ("storage-full", True)
    assert scratch_files(workplace) == []


def test_a_runner_is_replaced_after_its_share_of_jobs(tight_crew: Crew, workplace: Workplace, pictures: str) -> None:
    tight_crew.work()
    first = runner_pid()
    ids = [workplace.submit(pictures, steps=1) for _ in range(3)]
    tight_crew.work()
    assert [workplace.job(job_id).state for job_id in ids] == [JobState.SUCCEEDED] * 3
    assert runner_pid() != first


def test_a_runner_that_is_not_ready_in_time_is_given_up(tmp_path: Path) -> None:
    before = runner_pids(os.getpid())
    start = StartCommand(
        device="cpu",
        threads=1,
        precision="auto",
        weights_dir=None,
        feature_cache_dir=tmp_path,
        feature_cache_bytes=0,
    )
    runner = RunnerProcess(start, start_timeout_s=0.01)
    with pytest.raises(RunnerLostError, match=r"not ready within 0\.01 s"):
        runner.ensure_ready()
    assert runner_pids(os.getpid()) == before


def test_a_device_that_is_not_there_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    with pytest.raises(ValueError, match="CONGEAL_DEVICE is 'cuda:1'"):
        resolve_device("cuda:1")
    assert resolve_device("auto").type == "cpu"


def test_a_supervisor_never_loads_torch() -> None:
    code = "import sys, workers.__main__; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
