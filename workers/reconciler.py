"""Mends what processes that died left behind: lost leases, lost wake-ups, jobs past their deadline."""

from collections.abc import Callable

import structlog

from storage.blobs import keys
from storage.blobs.base import BlobStore
from storage.database.records import JobRecord
from storage.database.repositories.coordination import IdempotencyRepository, LeaseRepository
from storage.database.repositories.jobs import JobRepository
from storage.database.session import Database
from storage.errors import StorageError

DUTY = "reconciler"
DUTY_TTL_PERIODS = 3

log = structlog.get_logger("workers.reconciler")


class Reconciler:
    """Runs in every worker; a lease lets one of them act at a time.

    Args:
        database: where the jobs are.
        blobs: where files of jobs that ended here are removed from.
        wake: tells the workers of a lane that there may be work.
        holder: this process's name.
        period_s: how often `tick` is called.
        wake_repeat_s: seconds after which a waiting job wakes workers again.
    """

    def __init__(
        self,
        *,
        database: Database,
        blobs: BlobStore,
        wake: Callable[[str], None],
        holder: str,
        period_s: float,
        wake_repeat_s: float,
    ) -> None:
        self._database = database
        self._blobs = blobs
        self._wake = wake
        self._holder = holder
        self._ttl_s = DUTY_TTL_PERIODS * period_s
        self._wake_repeat_s = wake_repeat_s

    def tick(self) -> bool:
        """Look once; False when another process has the duty."""
        with self._database.transaction() as session:
            if not LeaseRepository(session).take(DUTY, self._holder, self._ttl_s):
                return False
        with self._database.transaction() as session:
            jobs = JobRepository(session)
            lost = jobs.release_expired_leases()
            ended = [*(job for job in lost if job.state.is_terminal), *jobs.expire_overdue()]
            lanes = {job.lane for job in lost if not job.state.is_terminal}
            lanes.update(jobs.due_for_wake_up(self._wake_repeat_s))
            IdempotencyRepository(session).delete_expired()
        for job in lost:
            log.warning("lease ran out", job=job.id, fence=job.fence, attempt=job.attempt, state=str(job.state))
        for lane in sorted(lanes):
            self._wake(lane)
        for job in ended:
            self._discard(job)
        return True

    def stop(self) -> None:
        """Leave the duty to another process at once, instead of letting it run out."""
        try:
            with self._database.transaction() as session:
                LeaseRepository(session).give_back(DUTY, self._holder)
        except StorageError as error:
            log.warning("the duty runs out by itself", error=str(error))

    def _discard(self, job: JobRecord) -> None:
        try:
            self._blobs.delete_prefix(keys.job_prefix(job.id))
        except (StorageError, OSError) as error:
            log.warning("files of a finished job were left behind", job=job.id, error=str(error))
