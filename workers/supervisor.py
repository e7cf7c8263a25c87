"""Claims jobs one after the other and sees each through with the runner; never imports torch."""

import threading
from collections.abc import Callable

import structlog

from api_schemas.base import new_id
from storage.blobs.base import BlobStore
from storage.database.records import JobRecord, WorkerRecord, utc_now
from storage.database.repositories.coordination import WorkerRepository
from storage.database.repositories.jobs import JobRepository
from storage.database.session import Database
from storage.errors import StorageError
from workers.attempt import Attempt
from workers.health import life_sign
from workers.ledger import Ledger
from workers.protocol import ReadyMessage, StartCommand
from workers.runner_process import RunnerLostError, RunnerProcess
from workers.scratch import Scratch
from workers.settings import WorkerSettings

IDLE_RUNNER_GRACE_S = 2.0

log = structlog.get_logger("workers.supervisor")


class Supervisor:
    """One supervisor has one runner and does one job at a time.

    Args:
        settings: what to take on and how.
        database: where the jobs are.
        blobs: where the bytes are.
        wake: tells the workers of a lane that there may be work.
    """

    def __init__(
        self,
        settings: WorkerSettings,
        *,
        database: Database,
        blobs: BlobStore,
        wake: Callable[[str], None],
    ) -> None:
        self.worker_id = new_id("wkr")
        self._settings = settings
        self._database = database
        self._blobs = blobs
        self._wake = wake
        self._runner = RunnerProcess(
            StartCommand(
                device=settings.device,
                threads=settings.threads,
                precision=settings.precision,
                weights_dir=settings.weights_dir,
                feature_cache_dir=settings.feature_cache_dir,
                feature_cache_bytes=settings.feature_cache_bytes,
            ),
            start_timeout_s=settings.runner_start_timeout_s,
        )
        self._scratch = Scratch(settings.resolved_scratch_dir, self.worker_id)
        self._shutdown = threading.Event()
        self._working = threading.Lock()

    def warm_up(self) -> None:
        """Start the runner and, once it is ready, tell everybody what this worker can do.

        Raises:
            RunnerLostError: the runner does not start.
            StorageError: the database is out of reach.
        """
        self._runner.ensure_ready()
        self.show_presence()

    def show_presence(self) -> None:
        """Tell that this worker is still there and, once its runner is ready, what it can do."""
        ready = self._runner.introduction
        with self._database.transaction() as session:
            workers = WorkerRepository(session)
            if not workers.seen(self.worker_id) and ready is not None:
                workers.register(self._record(ready))
        life_sign().touch()

    def _record(self, ready: ReadyMessage) -> WorkerRecord:
        now = utc_now()
        return WorkerRecord(
            id=self.worker_id,
            lanes=self._settings.lanes,
            device=ready.device,
            backbones=ready.backbones,
            weights=ready.weights,
            started_at=now,
            seen_at=now,
        )

    def work(self) -> None:
        """Do the best job of the lanes, then the next one, until none is left or the worker shuts down."""
        with self._working:
            try:
                while not self._shutdown.is_set() and self._work_once():
                    pass
            except RunnerLostError as error:
                log.error("no job is taken: the runner does not start", error=str(error))
            except StorageError as error:
                log.error("no job is taken: storage is out of reach", error=str(error))

    def stop(self) -> None:
        """Take no more jobs; a running one is checkpointed and given back. Returns at once."""
        self._shutdown.set()

    def close(self) -> None:
        """Wait for the job at hand to be given back, then end the runner and leave no trace."""
        self.stop()
        with self._working:
            self._runner.shutdown(IDLE_RUNNER_GRACE_S)
            self._scratch.close()
        try:
            with self._database.transaction() as session:
                WorkerRepository(session).remove(self.worker_id)
        except StorageError as error:
            log.warning("this worker is still registered", error=str(error))

    def _work_once(self) -> bool:
        self._renew_runner()
        ready = self._runner.ensure_ready()
        job = self._claim()
        if job is None:
            return False
        with structlog.contextvars.bound_contextvars(job=job.id, fence=job.fence, attempt=job.attempt):
            self._attempt(job, ready)
        return True

    def _claim(self) -> JobRecord | None:
        settings = self._settings
        with self._database.transaction() as session:
            return JobRepository(session).claim(lanes=settings.lanes, worker=self.worker_id, lease_s=settings.lease_s)

    def _attempt(self, job: JobRecord, ready: ReadyMessage) -> None:
        log.info("job claimed", method=job.method)
        with self._scratch.folder(f"{job.id}-{job.fence}") as folder:
            attempt = Attempt(
                job,
                runner=self._runner,
                ready=ready,
                ledger=Ledger(self._database, job, lease_s=self._settings.lease_s),
                blobs=self._blobs,
                settings=self._settings,
                folder=folder,
                shutdown=self._shutdown,
            )
            try:
                requeued = attempt.perform()
            except Exception:
                # The lease is left to run out, so that the job is tried again and in the end fails with a reason.
                log.exception("the attempt broke off")
                return
        if requeued:
            self._wake(job.lane)

    def _renew_runner(self) -> None:
        limit = self._settings.runner_max_rss_bytes
        grown = limit is not None and self._runner.peak_rss_bytes > limit
        if grown or self._runner.runs >= self._settings.runner_max_jobs:
            log.info("replacing the runner", runs=self._runner.runs, peak_rss_bytes=self._runner.peak_rss_bytes)
            self._runner.shutdown(IDLE_RUNNER_GRACE_S)
