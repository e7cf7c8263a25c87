"""A database, a blob store and what a user does with them, without the HTTP around it."""

import hashlib
import io
import os
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image

from api_schemas.events import EventType, JobEvent
from api_schemas.manifest import Artifact, Manifest
from storage.blobs.keys import artifact_key, image_key
from storage.blobs.local import LocalBlobStore
from storage.database.records import JobRecord, NewImage, NewJob, utc_now
from storage.database.repositories.images import ImageRepository, ImageSetRepository
from storage.database.repositories.jobs import JobRepository
from storage.database.session import Database
from workers.settings import WorkerSettings

TINY_METHOD = Path(__file__).parent / "tiny_method"


@dataclass(frozen=True)
class Workplace:
    """Where jobs are submitted and watched."""

    settings: WorkerSettings
    database: Database
    blobs: LocalBlobStore

    @classmethod
    def open(cls, settings: WorkerSettings) -> "Workplace":
        """Make the database and the store of the settings."""
        database = Database(settings.resolved_database_url)
        database.migrate()
        return cls(settings, database, LocalBlobStore(settings.blobs_dir))

    def upload(self, pictures: Sequence[npt.NDArray[np.uint8]]) -> str:
        """Store pictures as a set."""
        ids = []
        for number, picture in enumerate(pictures):
            content = _png(picture)
            sha256 = hashlib.sha256(content).hexdigest()
            key = image_key(sha256)
            self.blobs.put(key, content)
            image = NewImage(
                name=f"{number}.png",
                width=picture.shape[1],
                height=picture.shape[0],
                media_type="image/png",
                bytes=len(content),
                sha256=sha256,
                upload_sha256=sha256,
                blob_key=key,
            )
            with self.database.transaction() as session:
                images = ImageRepository(session)
                ids.append((images.by_digest(sha256) or images.add(image)).id)
        return self.make_set(ids)

    def make_set(self, image_ids: Sequence[str]) -> str:
        """Bind stored images into a set."""
        with self.database.transaction() as session:
            return ImageSetRepository(session).add(None, image_ids).id

    def image_ids(self, image_set_id: str) -> list[str]:
        """Return the ids of a set's images in order."""
        with self.database.transaction(read_only=True) as session:
            image_set = ImageSetRepository(session).get(image_set_id)
        assert image_set is not None
        return list(image_set.image_ids)

    def submit(
        self,
        image_set_id: str,
        method: str = "tiny",
        *,
        seed: int = 7,
        deadline_s: float = 600,
        max_attempts: int = 2,
        masks: dict[str, str] | None = None,
        extends: str | None = None,
        meshes: dict[str, str] | None = None,
        **params: object,
    ) -> str:
        """Queue a job and return its id."""
        job = NewJob(
            method=method,
            method_version="0.1",
            lane="default",
            image_set_id=image_set_id,
            params=params,
            seed=seed,
            deadline_at=utc_now() + timedelta(seconds=deadline_s),
            max_attempts=max_attempts,
            masks=masks,
            extends=extends,
            meshes=meshes,
        )
        with self.database.transaction() as session:
            return JobRepository(session).add(job).id

    def job(self, job_id: str) -> JobRecord:
        """Return the job's row."""
        with self.database.transaction(read_only=True) as session:
            job = JobRepository(session).get(job_id)
        assert job is not None
        return job

    def cancel(self, job_id: str) -> None:
        """Ask to cancel."""
        with self.database.transaction() as session:
            JobRepository(session).request_cancel(job_id, None)

    def events(self, job_id: str) -> list[JobEvent]:
        """Return the whole log."""
        with self.database.transaction(read_only=True) as session:
            return JobRepository(session).events(job_id, after=0, limit=10_000)

    def event_types(self, job_id: str) -> list[EventType]:
        """Return the types of all events."""
        return [event.type for event in self.events(job_id)]

    def artifacts(self, job_id: str) -> list[Artifact]:
        """Return the artifacts' rows."""
        with self.database.transaction(read_only=True) as session:
            return JobRepository(session).artifacts(job_id)

    def content(self, job_id: str, name: str) -> bytes:
        """Read an artifact from the store."""
        with self.blobs.open(artifact_key(job_id, self.job(job_id).fence, name)) as stream:
            return stream.read()

    def manifest(self, job_id: str) -> Manifest:
        """Read the manifest from the store."""
        key = self.job(job_id).manifest_key
        assert key is not None
        with self.blobs.open(key) as stream:
            return Manifest.model_validate_json(stream.read())

    def wait_for_files(self, job_id: str, *, under: str | None) -> None:
        """Wait until a job has files in that folder alone, or none at all: they are swept just after its row ends.

        Raises:
            TimeoutError: other files stay.
        """

        def are_swept() -> bool:
            names = self.files(job_id)
            return not names if under is None else bool(names) and all(name.startswith(under) for name in names)

        wait_until(are_swept, timeout_s=10, what=lambda: str(self.files(job_id)))

    def files(self, job_id: str) -> list[str]:
        """List all stored files of the job, relative to its folder."""
        folder = self.settings.blobs_dir / "jobs" / job_id
        # `os.walk` takes it calmly when a folder is swept under its feet.
        return sorted(str(Path(root, name).relative_to(folder)) for root, _, names in os.walk(folder) for name in names)

    def wait_for(self, job_id: str, done: Callable[[JobRecord], bool], *, timeout_s: float) -> JobRecord:
        """Wait until the row is as wished and return it as it was then."""
        seen = [self.job(job_id)]

        def is_done() -> bool:
            seen[0] = self.job(job_id)
            return done(seen[0])

        wait_until(is_done, timeout_s=timeout_s, what=lambda: str(seen[0]))
        return seen[0]

    def wait_for_end(self, job_id: str, *, timeout_s: float = 60) -> JobRecord:
        """Wait for a terminal state."""
        return self.wait_for(job_id, lambda job: job.state.is_terminal, timeout_s=timeout_s)


def wait_until(condition: Callable[[], bool], *, timeout_s: float, what: Callable[[], str]) -> None:
    """Poll until the condition holds.

    Raises:
        TimeoutError: it did not in time.
    """
    ends = time.monotonic() + timeout_s
    while not condition():
        if time.monotonic() > ends:
            raise TimeoutError(f"not within {timeout_s} s: {what()}")
        time.sleep(0.05)


def runner_pids(supervisor_pid: int) -> list[int]:
    """Process ids of the runners that a process has started."""
    listings = Path(f"/proc/{supervisor_pid}/task").glob("*/children")
    children = [int(pid) for listing in listings for pid in listing.read_text().split()]
    return [pid for pid in children if b"workers.runner" in Path(f"/proc/{pid}/cmdline").read_bytes()]


def noise_pictures(count: int, *, seed: int = 0, size: int = 32) -> list[npt.NDArray[np.uint8]]:
    """Random pictures."""
    rng = np.random.default_rng(seed)
    return [rng.integers(0, 256, (size, size + 4, 3), dtype=np.uint8) for _ in range(count)]


def _png(picture: npt.NDArray[np.uint8]) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(picture).save(buffer, format="PNG")
    return buffer.getvalue()
