"""Rows to begin with, and a clock to turn."""

import hashlib
from datetime import UTC, datetime, timedelta

from api_schemas.jobs import JobError, Priority
from api_schemas.manifest import Artifact, ArtifactKind
from storage.database.records import ImageSetRecord, JobRecord, NewImage, NewJob
from storage.database.repositories import ImageRepository, ImageSetRepository, JobRepository
from storage.database.session import Database

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)
ERROR = JobError(code="diverged", title="It diverged", detail="The loss is not finite.", retryable=False)


class Clock:
    """A clock that moves only when told to."""

    def __init__(self) -> None:
        self.now = NOON

    def __call__(self) -> datetime:
        """Return the time."""
        return self.now

    def advance(self, seconds: float) -> None:
        """Move on."""
        self.now += timedelta(seconds=seconds)


def new_image(name: str = "cat.png") -> NewImage:
    """Return an image whose digests follow from its name."""
    digest = hashlib.sha256(name.encode()).hexdigest()
    return NewImage(
        name=name,
        width=640,
        height=480,
        media_type="image/png",
        bytes=12_345,
        sha256=digest,
        upload_sha256=hashlib.sha256(digest.encode()).hexdigest(),
        blob_key=f"images/{digest[:2]}/{digest[2:4]}/{digest}",
    )


def add_image_set(database: Database, *names: str) -> ImageSetRecord:
    """Store images of these names and a set of them."""
    with database.transaction() as session:
        images = [ImageRepository(session).add(new_image(name)) for name in names or ("a.png", "b.png")]
        return ImageSetRepository(session).add("cats", [image.id for image in images])


def new_job(
    image_set_id: str,
    clock: Clock,
    *,
    lane: str = "default",
    priority: Priority = Priority.NORMAL,
    deadline_s: float = 3600,
    max_attempts: int = 3,
    method: str = "neural_congealing",
) -> NewJob:
    """Return a job of two minutes' interest."""
    return NewJob(
        method=method,
        method_version="1",
        lane=lane,
        image_set_id=image_set_id,
        params={"steps": 10, "backbone": "dense_descriptor"},
        seed=7,
        deadline_at=clock.now + timedelta(seconds=deadline_s),
        max_attempts=max_attempts,
        priority=priority,
        name="Zoë's cats",
        labels={"team": "felines"},
    )


def add_job(
    database: Database,
    clock: Clock,
    *,
    lane: str = "default",
    priority: Priority = Priority.NORMAL,
    deadline_s: float = 3600,
    max_attempts: int = 3,
    method: str = "neural_congealing",
) -> JobRecord:
    """Queue a job on the set of `add_image_set`."""
    image_set = add_image_set(database)
    job = new_job(
        image_set.id,
        clock,
        lane=lane,
        priority=priority,
        deadline_s=deadline_s,
        max_attempts=max_attempts,
        method=method,
    )
    with database.transaction() as session:
        return JobRepository(session, clock).add(job)


def artifact(name: str = "maps/000.safetensors") -> Artifact:
    """Return an artifact of that name."""
    return Artifact(
        name=name,
        kind=ArtifactKind.MAP_TO_CANONICAL,
        media_type="application/vnd.safetensors",
        images=[0],
        bytes=1024,
        sha256=hashlib.sha256(name.encode()).hexdigest(),
    )
