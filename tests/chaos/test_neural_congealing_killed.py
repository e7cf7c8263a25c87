"""The real method, killed in the middle of its optimisation."""

import re
from pathlib import Path

import pytest
from safetensors import safe_open

from api_schemas.events import TERMINAL_EVENTS, EventType
from api_schemas.jobs import JobState
from storage.errors import BlobNotFoundError
from tests.chaos.processes import open_site
from tests.workers.pictures import shifted_pictures
from tests.workers.workplace import Workplace, wait_until

SMALL = {
    "backbone": "dense_descriptor",
    "working_size": 256,
    "atlas_size": 64,
    "feature_dim": 16,
    "similarity_steps": 20,
    "flow_steps": 50,
}


@pytest.mark.parametrize("broker", ["files", "redis"])
def test_a_killed_worker_changes_no_bit_of_the_result(
    tmp_path: Path, broker: str, request: pytest.FixtureRequest
) -> None:
    broker_url = request.getfixturevalue("redis_url") if broker == "redis" else None
    with open_site(tmp_path, broker_url=broker_url) as site:
        place = site.place
        images = place.upload(shifted_pictures(3))
        calm = place.submit(images, "neural_congealing", **SMALL)
        worker = site.start_worker()
        assert place.wait_for_end(calm, timeout_s=120).state is JobState.SUCCEEDED, place.job(calm).error
        disturbed = place.submit(images, "neural_congealing", **SMALL)
        wait_until(lambda: is_deep_in_the_flow_stage(place, disturbed), timeout_s=60, what=worker.log_text)
        before = place.job(disturbed)
        worker.kill()
        site.start_worker()
        job = place.wait_for_end(disturbed, timeout_s=120)
        assert (before.state, job.state, job.attempt) == (JobState.RUNNING, JobState.SUCCEEDED, 2), job.error
        assert_resumed(place, disturbed)
        assert digests(place, disturbed) == digests(place, calm)
        types = place.event_types(disturbed)
        assert sum(kind in TERMINAL_EVENTS for kind in types) == 1
        place.wait_for_files(disturbed, under="attempt-2/")


def is_deep_in_the_flow_stage(place: Workplace, job_id: str) -> bool:
    """Whether the newest checkpoint was written within the flow stage."""
    job = place.job(job_id)
    if job.stage != "flow" or job.checkpoint_key is None:
        return False
    try:
        with place.blobs.path(job.checkpoint_key) as path, safe_open(path, framework="numpy") as checkpoint:
            written = checkpoint.metadata()
    except (BlobNotFoundError, FileNotFoundError):  # a newer one has taken its place
        return False
    return bool(written["stage"] == "flow" and int(written["step"]) > 0)


def assert_resumed(place: Workplace, job_id: str) -> None:
    """The second attempt went on within the flow stage and never did the similarity stage again."""
    events = place.events(job_id)
    lost = next(event.seq for event in events if event.type is EventType.ATTEMPT_LOST)
    assert any(event.type is EventType.CHECKPOINT and event.seq < lost for event in events)
    after = [event for event in events if event.seq > lost]
    told = [str(event.data["message"]) for event in after if event.type is EventType.LOG]
    (step,) = [
        int(found[1])
        for text in told
        if (found := re.fullmatch(r"Going on from the checkpoint at step (\d+) of stage flow\.", text))
    ]
    assert step > 0
    assert "similarity" not in [event.data["stage"] for event in after if event.type is EventType.STAGE]


def digests(place: Workplace, job_id: str) -> dict[str, str]:
    artifacts = place.artifacts(job_id)
    named = {artifact.name: artifact.sha256 for artifact in artifacts}
    assert len(named) == len(artifacts) > 0
    return named
