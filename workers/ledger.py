"""A claimed job's row, as its worker may write it: under the fence, each write in a transaction of its own."""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, TypeVar

import structlog
from pydantic import JsonValue

from api_schemas.annotations.model import Annotations
from api_schemas.jobs import JobError
from api_schemas.manifest import Artifact
from storage.database.records import Control, ImageRecord, JobRecord, MeshRecord
from storage.database.repositories.jobs import JobRepository
from storage.database.repositories.meshes import MeshRepository
from storage.database.session import Database
from storage.errors import StorageUnavailableError
from workers.protocol import ProgressMessage

RETRY_PAUSE_S = 0.5

T = TypeVar("T")

log = structlog.get_logger("workers.supervisor")


class LeaseLostError(Exception):
    """Another worker may hold the job by now: nothing must be written any more."""


@dataclass(frozen=True)
class JobInputs:
    """What a job works on."""

    images: Sequence[ImageRecord]
    """In their order; those of the extended job first."""
    masks: Mapping[str, ImageRecord] = field(default_factory=dict)
    """By the id of the image."""
    base: JobRecord | None = None
    """The extended job."""
    annotations: Annotations | None = None
    """By the id of the image."""
    used: Mapping[str, JobRecord | None] = field(default_factory=dict)
    """Jobs that the parameters name, by the name of the parameter; None for one that is gone."""
    meshes: Mapping[str, MeshRecord | None] = field(default_factory=dict)
    """Meshes that the parameters name, by the name of the parameter; None for one that is gone."""


class Ledger:
    """Writes of one attempt at one job."""

    def __init__(self, database: Database, job: JobRecord, *, lease_s: float) -> None:
        self._database = database
        self._id = job.id
        self._extends = job.extends
        self._uses = job.uses or {}
        self._meshes = job.meshes or {}
        self._fence = job.fence
        self._lease_s = lease_s
        self._held_at = time.monotonic()

    def inputs(self) -> JobInputs:
        """Return the job's images in their order, what is known of them, and the jobs and meshes it builds on."""
        with self._database.transaction(read_only=True) as session:
            jobs = JobRepository(session)
            meshes = MeshRepository(session)
            annotations = jobs.annotations(self._id)
            return JobInputs(
                images=jobs.images(self._id),
                masks=jobs.masks(self._id),
                base=jobs.get(self._extends) if self._extends is not None else None,
                annotations=None if annotations is None else Annotations.model_validate(annotations),
                used={name: jobs.get(job_id) for name, job_id in self._uses.items()},
                meshes={name: meshes.get(mesh_id) for name, mesh_id in self._meshes.items()},
            )

    def heartbeat(self) -> Control | None:
        """Prolong the lease; None when the database is out of reach for a while.

        Raises:
            LeaseLostError: the lease is another's, or ran out while the database was out of reach.
        """
        began = time.monotonic()
        control = self._held(lambda jobs: jobs.heartbeat(self._id, self._fence, lease_s=self._lease_s))
        if control is not None:
            self._held_at = began
        return control

    def control(self) -> Control | None:
        """Look for a cancel or a passed deadline; None when the database is out of reach for a while.

        Raises:
            LeaseLostError: the lease is another's, or ran out while the database was out of reach.
        """
        return self._held(lambda jobs: jobs.control(self._id, self._fence), read_only=True)

    def stage(self, name: str) -> None:
        """Show the stage."""
        self._try(lambda jobs: jobs.set_stage(self._id, self._fence, name))

    def progress(self, progress: ProgressMessage) -> None:
        """Show the progress."""
        self._try(
            lambda jobs: jobs.set_progress(
                self._id,
                self._fence,
                fraction=progress.fraction,
                step=progress.step,
                total=progress.total,
                metrics=progress.metrics,
            )
        )

    def log(self, message: str) -> None:
        """Add a line to the job's events."""
        self._try(lambda jobs: jobs.log(self._id, self._fence, message))

    def checkpoint(self, key: str) -> bool:
        """Point the row to a stored checkpoint; False when that did not hold."""
        return bool(self._try(lambda jobs: jobs.save_checkpoint(self._id, self._fence, key)))

    def succeed(
        self,
        *,
        manifest_key: str,
        artifacts: Sequence[Artifact],
        self_check: dict[str, JsonValue],
        metrics: dict[str, JsonValue],
    ) -> bool:
        """Commit the result; False when the fence no longer holds."""
        return self._close(
            lambda jobs: jobs.succeed(
                self._id,
                self._fence,
                manifest_key=manifest_key,
                artifacts=artifacts,
                self_check=self_check,
                metrics=metrics,
            )
        )

    def fail(self, error: JobError, metrics: dict[str, JsonValue]) -> bool:
        """End the job with an error; False when the fence no longer holds."""
        return self._close(lambda jobs: jobs.fail(self._id, self._fence, error, metrics))

    def confirm_cancel(self) -> bool:
        """End the job as canceled; False when the fence no longer holds."""
        return self._close(lambda jobs: jobs.confirm_cancel(self._id, self._fence))

    def release(self, reason: str) -> bool:
        """Give the job back without loss of an attempt; False when the fence no longer holds."""
        return self._close(lambda jobs: jobs.release(self._id, self._fence, reason))

    def lose_attempt(self, reason: str) -> JobRecord | None:
        """Give the job back, or end it if no attempt is left; None when the fence no longer holds."""
        return self._close(lambda jobs: jobs.lose_attempt(self._id, self._fence, reason)) or None

    def _transact(self, act: Callable[[JobRepository], T], *, read_only: bool = False) -> T:
        with self._database.transaction(read_only=read_only) as session:
            return act(JobRepository(session))

    def _try(self, act: Callable[[JobRepository], T]) -> T | None:
        """Write what may get lost: the next one says more."""
        try:
            return self._transact(act)
        except StorageUnavailableError as error:
            log.warning("the job's row could not be written", error=str(error))
            return None

    def _held(self, act: Callable[[JobRepository], Control | None], *, read_only: bool = False) -> Control | None:
        try:
            control = self._transact(act, read_only=read_only)
        except StorageUnavailableError as error:
            if time.monotonic() - self._held_at > self._lease_s:
                raise LeaseLostError("the database was out of reach for longer than the lease") from error
            log.warning("the job's row could not be reached", error=str(error))
            return None
        if control is None:
            raise LeaseLostError("the job is no longer this worker's")
        return control

    def _close(self, act: Callable[[JobRepository], T]) -> T | Literal[False]:
        """Write what ends the attempt: try again while the lease may still hold."""
        while True:
            try:
                return self._transact(act)
            except StorageUnavailableError as error:
                if time.monotonic() - self._held_at > self._lease_s:
                    log.error("the end of the attempt could not be written", error=str(error))
                    return False
                time.sleep(RETRY_PAUSE_S)
