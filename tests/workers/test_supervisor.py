import os
import signal
import time
from pathlib import Path

import pytest
import torch

from api_schemas.events import TERMINAL_EVENTS, EventType
from api_schemas.jobs import JobState
from storage.database.repositories.coordination import WorkerRepository
from storage.database.repositories.jobs import JobRepository
from tests.workers.conftest import Crew, runner_pid, scratch_files
from tests.workers.workplace import Workplace, noise_pictures, wait_until
from workers.checkpoints import write_checkpoint

SLOW = {"steps": 400, "step_s": 0.02}


def begin_slow_job(crew: Crew, place: Workplace, pictures: str, **params: object) -> str:
    job_id = place.submit(pictures, **{**SLOW, **params})
    crew.begin()
    place.wait_for(job_id, lambda job: (job.progress_step or 0) > 5, timeout_s=20)
    return job_id


def test_a_job_ends_with_artifacts_manifest_and_metrics(crew: Crew, workplace: Workplace, pictures: str) -> None:
    job_id = workplace.submit(pictures, steps=60, step_s=0.02)
    crew.work()
    job = workplace.job(job_id)
    assert job.state is JobState.SUCCEEDED, job.error
    manifest = workplace.manifest(job_id)
    assert [artifact.name for artifact in manifest.artifacts] == [row.name for row in workplace.artifacts(job_id)]
    assert [image.index for image in manifest.images] == [0, 1]
    assert manifest.params == job.params
    assert manifest.environment.device == "cpu"
    assert workplace.files(job_id) == sorted(
        ["attempt-1/manifest.json", *(f"attempt-1/{artifact.name}" for artifact in manifest.artifacts)]
    )
    stages = job.metrics["stage_s"]
    assert isinstance(stages, dict)
    assert stages.keys() == {"warm_up", "descent", "export"}
    assert 1.2 <= stages["descent"] <= job.metrics["wall_s"] < 20
    assert job.metrics["cpu_s"] > 0
    assert job.metrics["peak_rss_bytes"] > 50e6
    assert job.self_check
    assert scratch_files(workplace) == []


def test_the_log_tells_the_story_once(crew: Crew, workplace: Workplace, pictures: str) -> None:
    job_id = workplace.submit(pictures, steps=60, step_s=0.02)
    crew.work()
    types = workplace.event_types(job_id)
    assert types[:2] == [EventType.QUEUED, EventType.STARTED]
    assert types[-1] is EventType.SUCCEEDED
    assert sum(kind in TERMINAL_EVENTS for kind in types) == 1
    events = workplace.events(job_id)
    assert [event.seq for event in events] == list(range(1, len(events) + 1))
    assert [e.data["stage"] for e in events if e.type is EventType.STAGE] == ["warm_up", "descent", "export"]
    progress = [event.data["fraction"] for event in events if event.type is EventType.PROGRESS]
    assert progress == sorted(progress)
    assert 2 <= len(progress) <= 5


def test_all_queued_jobs_are_done_in_order_and_duplicate_wake_ups_cost_nothing(
    crew: Crew, workplace: Workplace, pictures: str
) -> None:
    ids = [workplace.submit(pictures, steps=1) for _ in range(3)]
    crew.work()
    crew.work()
    jobs = [workplace.job(job_id) for job_id in ids]
    assert [job.state for job in jobs] == [JobState.SUCCEEDED] * 3
    assert [job.attempt for job in jobs] == [1, 1, 1]
    assert sorted(jobs, key=lambda job: job.started_at or job.created_at) == jobs


def test_the_runner_stays_warm(crew: Crew, workplace: Workplace, pictures: str) -> None:
    before = runner_pid()
    workplace.submit(pictures, steps=1)
    crew.work()
    assert runner_pid() == before


def test_the_same_seed_gives_the_same_bits_and_another_does_not(
    crew: Crew, workplace: Workplace, pictures: str
) -> None:
    ids = [workplace.submit(pictures, steps=30, seed=seed) for seed in (1, 1, 2)]
    crew.work()
    one, again, other = ({a.name: a.sha256 for a in workplace.artifacts(job_id)} for job_id in ids)
    assert one == again
    assert one != other


def test_an_error_of_the_method_fails_the_job_at_once_without_a_traceback(
    crew: Crew, workplace: Workplace, pictures: str
) -> None:
    job_id = workplace.submit(pictures, accident="error")
    crew.work()
    job = workplace.job(job_id)
    assert (job.state, job.attempt) == (JobState.FAILED, 1)
    assert job.error is not None
    assert job.error["code"] == "method-error"
    assert job.error["detail"] == "ValueError: the pictures show nothing in common"
    assert job.error["retryable"] is False
    workplace.wait_for_files(job_id, under=None)


def test_parameters_that_do_not_fit_fail_the_job(crew: Crew, workplace: Workplace, pictures: str) -> None:
    job_id = workplace.submit(pictures, steps=-1)
    crew.work()
    assert workplace.job(job_id).state is JobState.FAILED


def test_a_method_that_this_worker_lacks_is_named(crew: Crew, workplace: Workplace, pictures: str) -> None:
    job_id = workplace.submit(pictures, "from_the_future")
    crew.work()
    error = workplace.job(job_id).error
    assert error is not None
    assert "from_the_future" in str(error["detail"])
    assert "tiny" in str(error["detail"])


def test_lack_of_memory_is_told_with_a_remedy(crew: Crew, workplace: Workplace, pictures: str) -> None:
    job_id = workplace.submit(pictures, accident="memory")
    crew.work()
    error = workplace.job(job_id).error
    assert error is not None
    assert (error["code"], error["retryable"]) == ("out-of-memory", True)


def test_losses_that_are_not_finite_do_no_harm(crew: Crew, workplace: Workplace, pictures: str) -> None:
    job_id = workplace.submit(pictures, accident="nan", steps=5)
    crew.work()
    assert workplace.job(job_id).state is JobState.SUCCEEDED


def test_a_cancel_is_obeyed_within_a_second_and_the_runner_lives_on(
    crew: Crew, workplace: Workplace, pictures: str
) -> None:
    before = runner_pid()
    job_id = begin_slow_job(crew, workplace, pictures)
    asked = time.monotonic()
    workplace.cancel(job_id)
    job = workplace.wait_for_end(job_id, timeout_s=5)
    assert time.monotonic() - asked < 1
    assert job.state is JobState.CANCELED
    workplace.submit(pictures, steps=1)
    crew.work()
    assert runner_pid() == before
    workplace.wait_for_files(job_id, under=None)


def test_a_runner_that_ignores_a_cancel_is_replaced(crew: Crew, workplace: Workplace, pictures: str) -> None:
    before = runner_pid()
    job_id = workplace.submit(pictures, accident="hang")
    crew.begin()
    workplace.wait_for(job_id, lambda job: job.stage == "warm_up", timeout_s=20)
    workplace.cancel(job_id)
    job = workplace.wait_for_end(job_id, timeout_s=5)
    assert job.state is JobState.CANCELED
    next_id = workplace.submit(pictures, steps=1)
    crew.work()
    assert workplace.job(next_id).state is JobState.SUCCEEDED
    assert runner_pid() != before


def test_a_deadline_ends_a_running_job(crew: Crew, workplace: Workplace, pictures: str) -> None:
    job_id = workplace.submit(pictures, deadline_s=1, **SLOW)
    crew.work()
    job = workplace.job(job_id)
    assert job.state is JobState.FAILED
    assert job.error is not None
    assert job.error["code"] == "deadline-exceeded"


def test_a_job_whose_last_attempt_is_lost_fails(crew: Crew, workplace: Workplace, pictures: str) -> None:
    job_id = workplace.submit(pictures, accident="hang", max_attempts=1)
    crew.work()
    job = workplace.job(job_id)
    assert (job.state, job.attempt) == (JobState.FAILED, 1)
    assert job.error is not None
    assert (job.error["code"], job.error["retryable"]) == ("worker-lost", True)
    assert "no sign of life" in str(job.error["detail"])


def test_a_killed_runner_is_replaced_and_the_job_ends_as_if_nothing_had_happened(
    crew: Crew, workplace: Workplace, pictures: str
) -> None:
    calm = workplace.submit(pictures, steps=100, step_s=0.01)
    crew.work()
    job_id = workplace.submit(pictures, steps=100, step_s=0.01)
    worker = crew.begin()
    wait_until(
        lambda: EventType.CHECKPOINT in workplace.event_types(job_id), timeout_s=20, what=lambda: "no checkpoint"
    )
    os.kill(runner_pid(), signal.SIGKILL)
    worker.join(30)
    job = workplace.job(job_id)
    assert (job.state, job.attempt) == (JobState.SUCCEEDED, 2), job.error
    (lost,) = [event for event in workplace.events(job_id) if event.type is EventType.ATTEMPT_LOST]
    assert "killed by SIGKILL" in str(lost.data["reason"])
    resumed = [str(e.data["message"]) for e in workplace.events(job_id) if e.type is EventType.LOG]
    assert len(resumed) == 1
    assert resumed[0].startswith("Going on from the checkpoint at step ")
    hashes = [{a.name: a.sha256 for a in workplace.artifacts(one)} for one in (calm, job_id)]
    assert hashes[0] == hashes[1]
    workplace.wait_for_files(job_id, under="attempt-2/")


def test_a_checkpoint_of_another_run_is_not_used(
    crew: Crew, workplace: Workplace, pictures: str, tmp_path: Path
) -> None:
    foreign = tmp_path / "foreign.safetensors"
    write_checkpoint(foreign, {"colour": torch.ones(3)}, digest="another", stage="descent", step=2)
    job_id = workplace.submit(pictures, steps=3)
    workplace.blobs.put(f"jobs/{job_id}/checkpoints/1-1.safetensors", foreign.read_bytes())
    with workplace.database.transaction() as session:
        jobs = JobRepository(session)
        claimed = jobs.claim(lanes=["default"], worker="earlier", lease_s=60)
        assert claimed is not None
        jobs.save_checkpoint(job_id, claimed.fence, f"jobs/{job_id}/checkpoints/1-1.safetensors")
        jobs.release(job_id, claimed.fence, "test")
    crew.work()
    assert workplace.job(job_id).state is JobState.SUCCEEDED
    messages = [str(e.data["message"]) for e in workplace.events(job_id) if e.type is EventType.LOG]
    assert messages == [
        "The last checkpoint is not used: it was made with other images, parameters or code. Beginning afresh."
    ]


def test_a_lost_lease_stops_the_run_and_nothing_is_written(crew: Crew, workplace: Workplace, pictures: str) -> None:
    job_id = workplace.submit(pictures, **SLOW)
    worker = crew.begin()
    workplace.wait_for(job_id, lambda job: (job.progress_step or 0) > 5, timeout_s=20)
    with workplace.database.transaction() as session:
        jobs = JobRepository(session)
        first = workplace.job(job_id).fence
        assert jobs.lose_attempt(job_id, first, "taken away") is not None
        taken = jobs.claim(lanes=["default"], worker="another", lease_s=60)
        assert taken is not None
    worker.join(20)
    assert not worker.is_alive()
    job = workplace.job(job_id)
    assert (job.state, job.worker, job.fence) == (JobState.RUNNING, "another", first + 1)
    assert workplace.event_types(job_id)[-1] is EventType.STARTED
    with workplace.database.transaction() as session:
        workplace_cancel = JobRepository(session).request_cancel(job_id, None)
        assert workplace_cancel is not None
        assert JobRepository(session).confirm_cancel(job_id, taken.fence)


def test_a_missing_image_is_named(crew: Crew, workplace: Workplace) -> None:
    doomed = workplace.upload(noise_pictures(1, seed=99))
    job_id = workplace.submit(doomed)
    with workplace.database.transaction() as session:
        (image,) = JobRepository(session).images(job_id)
    workplace.blobs.delete(image.blob_key)
    crew.work()
    error = workplace.job(job_id).error
    assert error is not None
    assert error["code"] == "image-missing"


def test_a_warm_worker_tells_what_it_has(crew: Crew, workplace: Workplace) -> None:
    with workplace.database.transaction() as session:
        (worker,) = WorkerRepository(session).all()
    assert (worker.id, worker.lanes, worker.device) == (crew.supervisor.worker_id, ["default"], "cpu")
    assert "dense_descriptor" in worker.backbones


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_signals_meant_for_the_worker_do_not_end_the_runner(
    crew: Crew, workplace: Workplace, pictures: str, number: signal.Signals
) -> None:
    before = runner_pid()
    os.kill(before, number)
    job_id = workplace.submit(pictures, steps=1)
    crew.work()
    assert workplace.job(job_id).state is JobState.SUCCEEDED
    assert runner_pid() == before
