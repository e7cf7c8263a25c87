"""The demonstration: make pictures with known truth, align them over HTTP, and score the answer."""

import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from pydantic import BaseModel, ValidationError

from api_schemas.images import Image
from api_schemas.jobs import Job, JobState
from api_schemas.manifest import ArtifactKind, Manifest
from api_schemas.queries import Box, EvaluationResponse, Keypoint
from client.console import err, say
from client.errors import EmbeddedServiceError, JobUnsuccessfulError
from client.processes import EmbeddedService
from client.progress import JobProgress
from client.sdk import Congeal

METHOD = "neural_congealing"
ALPHAS = (0.1, 0.05)
READY_TIMEOUT_S = 180.0


class TrueImage(BaseModel):
    """What is known of a generated picture; keypoints are (x, y, visible) in its pixels."""

    file: str
    bbox: Box | None
    keypoints: list[Keypoint]


class Truth(BaseModel):
    """The `truth.json` beside generated pictures."""

    keypoint_names: list[str]
    images: list[TrueImage]


@dataclass(frozen=True)
class DemoOutcome:
    """What a demonstration yields."""

    job: Job
    images: int
    scores: EvaluationResponse
    contact_sheet: Path


def run_demo(out: Path) -> DemoOutcome:
    """Run the whole demonstration; it leaves `sample/`, `result/` and `logs/` in `out`, and no process.

    Raises:
        CongealError: a part of it failed.
    """
    say("painting the sample set")
    sample = out / "sample"
    truth = generate_sample(sample)
    say("starting the service")
    with embedded_service(out / "logs") as service, Congeal(service.url) as congeal, service.supervised():
        wait_for_method(congeal)
        images = congeal.upload([sample / "images" / Path(image.file).name for image in truth.images])
        job = align(congeal, images)
        manifest = congeal.fetch(job, out / "result")
        scores = score(congeal, job, images=images, truth=truth)
    return DemoOutcome(
        job=job, images=len(images), scores=scores, contact_sheet=contact_sheet(manifest, out / "result")
    )


def generate_sample(folder: Path) -> Truth:
    """Let the workers' generator write pictures and their truth into a folder.

    Raises:
        EmbeddedServiceError: the generator failed.
    """
    command = [sys.executable, "-P", "-m", "workers.evaluation", str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, start_new_session=True, check=False)
    if done.returncode:
        raise EmbeddedServiceError(f"the sample set could not be made:\n{done.stderr.strip()[-2000:]}")
    path = folder / "truth.json"
    try:
        return Truth.model_validate_json(path.read_bytes())
    except (OSError, ValidationError) as error:
        raise EmbeddedServiceError(f"the sample set's {path} cannot be read: {error}") from error


@contextmanager
def embedded_service(logs: Path) -> Iterator[EmbeddedService]:
    """Run a service on a free loopback port with data that lasts as long as the block."""
    alone = {"CONGEAL_DATABASE_URL": "", "CONGEAL_BROKER_URL": "", "CONGEAL_LANES": ""}
    with (
        tempfile.TemporaryDirectory(prefix="congeal-demo-", ignore_cleanup_errors=True) as data,
        EmbeddedService(host="127.0.0.1", port=0, data_dir=Path(data), logs=logs, environment=alone) as service,
    ):
        service.wait_until_ready(READY_TIMEOUT_S)
        yield service


def wait_for_method(congeal: Congeal) -> None:
    """Return once a worker is ready for the method.

    Raises:
        EmbeddedServiceError: none was in time.
    """
    deadline = time.monotonic() + READY_TIMEOUT_S
    while not congeal.method(METHOD).ready:
        if time.monotonic() > deadline:
            raise EmbeddedServiceError(f"no worker was ready for {METHOD} within {READY_TIMEOUT_S:g} s; see its log")
        time.sleep(0.25)


def align(congeal: Congeal, images: Sequence[Image]) -> Job:
    """Submit the job and show its progress.

    Raises:
        JobUnsuccessfulError: it ended without a result.
    """
    job = congeal.submit(METHOD, images=images, name="demo")
    with JobProgress(err) as progress:
        job = congeal.wait(job, on_event=progress)
    if job.state is not JobState.SUCCEEDED:
        raise JobUnsuccessfulError(job)
    return job


def score(congeal: Congeal, job: Job, *, images: Sequence[Image], truth: Truth) -> EvaluationResponse:
    """Compare the result with the known keypoints; pictures without the object have none to compare."""
    known = [(image.id, true) for image, true in zip(images, truth.images, strict=True) if true.bbox]
    return congeal.evaluate(
        job,
        keypoints={image_id: true.keypoints for image_id, true in known},
        boxes={image_id: true.bbox for image_id, true in known if true.bbox},
        alphas=ALPHAS,
    )


def contact_sheet(manifest: Manifest, folder: Path) -> Path:
    """Return where the fetched contact sheet is.

    Raises:
        EmbeddedServiceError: the result has none.
    """
    for artifact in manifest.artifacts:
        if artifact.kind is ArtifactKind.CONTACT_SHEET:
            return folder / artifact.name
    raise EmbeddedServiceError(f"the result in {folder} has no contact sheet")
