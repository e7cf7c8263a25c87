"""One attempt at one job: feed the runner, keep the lease, obey cancels and deadlines, bring the result home."""

import threading
import time
from collections.abc import Sequence
from enum import StrEnum
from pathlib import Path

import structlog
from pydantic import JsonValue

from api_schemas.jobs import JobError
from storage.blobs import keys
from storage.blobs.base import BlobStore
from storage.database.records import Control, ImageRecord, JobRecord
from storage.errors import BlobNotFoundError, StorageError, StorageFullError
from workers.checkpoint_store import CheckpointStore
from workers.ledger import LeaseLostError, Ledger
from workers.preparation import BaseMissingError, MeshMissingError, prepare_run
from workers.protocol import (
    AliveMessage,
    CancelCommand,
    CanceledMessage,
    CheckpointMessage,
    DoneMessage,
    ErrorMessage,
    LogMessage,
    Message,
    ProgressMessage,
    ReadyMessage,
    RunCommand,
    StageMessage,
)
from workers.publishing import publish
from workers.runner_process import RunnerLostError, RunnerProcess
from workers.settings import WorkerSettings

STORAGE_FULL = JobError(
    code="storage-full",
    title="There is no space left for the result",
    detail="The disk or quota is full. Free some space and submit the job again.",
    retryable=True,
)
DEADLINE_PASSED = JobError(
    code="deadline-exceeded",
    title="The job took too long",
    detail="The job's deadline passed while it ran. Submit it again with a longer deadline_s or smaller parameters.",
    retryable=False,
)

log = structlog.get_logger("workers.supervisor")

Closing = DoneMessage | ErrorMessage | CanceledMessage


class Stop(StrEnum):
    """Why a runner was asked to stop."""

    CANCEL = "cancel"
    DEADLINE = "deadline"
    SHUTDOWN = "shutdown"


class Attempt:
    """Supervises the runner while it works on a claimed job."""

    def __init__(
        self,
        job: JobRecord,
        *,
        runner: RunnerProcess,
        ready: ReadyMessage,
        ledger: Ledger,
        blobs: BlobStore,
        settings: WorkerSettings,
        folder: Path,
        shutdown: threading.Event,
    ) -> None:
        self._job = job
        self._runner = runner
        self._ready = ready
        self._ledger = ledger
        self._blobs = blobs
        self._settings = settings
        self._folder = folder
        self._shutdown = shutdown
        self._images: Sequence[ImageRecord] = []
        self._checkpoints = CheckpointStore(job, blobs=blobs, ledger=ledger)
        self._running = False
        self._stop: Stop | None = None
        self._grace_ends = 0.0
        self._quiet_s = 0.0
        now = time.monotonic()
        self._beat_due = now + settings.heartbeat_s
        self._poll_due = now

    def perform(self) -> bool:
        """Work until the attempt has an end. Returns whether the job went back to the queue for another worker."""
        try:
            return self._conclude(self._run())
        except RunnerLostError as error:
            self._runner.kill()
            self._running = False
            return self._after_loss(str(error))
        except LeaseLostError as error:
            log.warning("lease lost; the job is left alone", reason=str(error))
            return False
        except (StorageFullError, BlobNotFoundError, BaseMissingError, MeshMissingError) as error:
            self._fail(_describe_missing(error), {})
            return False
        finally:
            if self._running:
                self._quiet_runner()

    def _run(self) -> Closing:
        command = self._prepare()
        self._runner.send(command)
        self._running = True
        while True:
            message = self._runner.receive(self._idle_s())
            if isinstance(message, Closing):
                self._running = False
                return message
            if message is not None:
                self._take(message)
            self._duties()

    def _prepare(self) -> RunCommand:
        inputs = self._ledger.inputs()
        self._images = inputs.images
        return prepare_run(
            self._job,
            inputs,
            blobs=self._blobs,
            checkpoints=self._checkpoints,
            folder=self._folder,
            checkpoint_interval_s=self._settings.checkpoint_interval_s,
            between=self._keep_lease,
        )

    def _take(self, message: Message) -> None:
        match message:
            case StageMessage():
                self._ledger.stage(message.name)
            case ProgressMessage():
                self._ledger.progress(message)
            case LogMessage():
                self._ledger.log(message.message)
            case CheckpointMessage():
                self._checkpoints.keep(message.path)
            case AliveMessage():
                self._quiet_s = message.quiet_s

    def _duties(self) -> None:
        if self._stop is None and self._shutdown.is_set():
            self._ask_to_stop(Stop.SHUTDOWN)
        self._check_life()
        self._keep_lease()
        now = time.monotonic()
        if now >= self._poll_due:
            self._poll_due = now + self._settings.control_poll_s
            self._obey(self._ledger.control())

    def _check_life(self) -> None:
        if self._stop is not None and time.monotonic() > self._grace_ends:
            raise RunnerLostError(f"the runner did not stop in time ({self._stop})")
        quiet_s = max(self._quiet_s, self._runner.silent_s)
        if quiet_s > self._settings.watchdog_s:
            raise RunnerLostError(f"the runner gave no sign of life for {quiet_s:.0f} s")

    def _keep_lease(self) -> None:
        now = time.monotonic()
        if now >= self._beat_due:
            self._beat_due = now + self._settings.heartbeat_s
            self._obey(self._ledger.heartbeat())

    def _obey(self, control: Control | None) -> None:
        if control is None or self._stop is not None or not self._running:
            return
        if control.cancel_requested:
            self._ask_to_stop(Stop.CANCEL)
        elif control.deadline_passed:
            self._ask_to_stop(Stop.DEADLINE)

    def _ask_to_stop(self, stop: Stop) -> None:
        log.info("asking the runner to stop", reason=str(stop))
        leaving = stop is Stop.SHUTDOWN
        grace_s = self._settings.shutdown_grace_s if leaving else self._settings.cancel_grace_s
        self._stop = stop
        self._grace_ends = time.monotonic() + grace_s
        self._runner.send(CancelCommand(checkpoint=leaving))

    def _idle_s(self) -> float:
        due = min(self._beat_due, self._poll_due)
        if self._stop is not None:
            due = min(due, self._grace_ends)
        return max(0.0, due - time.monotonic())

    def _quiet_runner(self) -> None:
        """Stop a run whose result is wanted no more; keep the runner warm if it obeys in time."""
        ends = time.monotonic() + self._settings.cancel_grace_s
        try:
            self._runner.send(CancelCommand())
            while not isinstance(self._runner.receive(ends - time.monotonic()), Closing):
                if time.monotonic() > ends:
                    self._runner.kill()
        except RunnerLostError:
            self._runner.kill()
        self._running = False

    def _conclude(self, closing: Closing) -> bool:
        match closing:
            case DoneMessage():
                self._publish(closing)
            case ErrorMessage():
                self._fail(closing.error, closing.metrics)
            case CanceledMessage():
                return self._after_stop()
        return False

    def _publish(self, done: DoneMessage) -> None:
        committed = publish(
            self._job,
            self._images,
            done,
            runner=self._ready,
            blobs=self._blobs,
            ledger=self._ledger,
            between=self._keep_lease,
        )
        if committed:
            log.info("job succeeded", artifacts=len(done.artifacts), wall_s=done.metrics.get("wall_s"))
            self._tidy([keys.checkpoints_prefix(self._job.id), *self._earlier_attempts()])

    def _after_stop(self) -> bool:
        match self._stop:
            case Stop.CANCEL:
                if self._ledger.confirm_cancel():
                    self._tidy([keys.job_prefix(self._job.id)])
                return False
            case Stop.DEADLINE:
                self._fail(DEADLINE_PASSED, {})
                return False
            case Stop.SHUTDOWN:
                return self._ledger.release("the worker is shutting down")
            case _:
                return self._lose("the runner stopped unasked")

    def _after_loss(self, reason: str) -> bool:
        log.warning("runner lost", reason=reason)
        return self._after_stop() if self._stop is not None else self._lose(reason)

    def _lose(self, reason: str) -> bool:
        left = self._ledger.lose_attempt(reason)
        if left is not None and left.state.is_terminal:
            self._tidy([keys.job_prefix(left.id)])
        return left is not None

    def _fail(self, error: JobError, metrics: dict[str, JsonValue]) -> None:
        log.warning("job failed", code=error.code, detail=error.detail)
        if self._ledger.fail(error, metrics):
            self._tidy([keys.job_prefix(self._job.id)])

    def _earlier_attempts(self) -> list[str]:
        return [keys.attempt_prefix(self._job.id, fence) for fence in range(1, self._job.fence)]

    def _tidy(self, prefixes: Sequence[str]) -> None:
        """Remove what is of no use any more; a failure here changes nothing about how the job ended."""
        try:
            for prefix in prefixes:
                self._blobs.delete_prefix(prefix)
        except (StorageError, OSError) as error:
            log.warning("files of a finished job were left behind", error=str(error))


def _describe_missing(error: StorageFullError | BlobNotFoundError | BaseMissingError | MeshMissingError) -> JobError:
    if isinstance(error, StorageFullError):
        return STORAGE_FULL
    if isinstance(error, MeshMissingError):
        return JobError(
            code="mesh-missing",
            title="A mesh that the job works with is gone",
            detail=f"{error}. Upload the mesh again and submit a new job.",
            retryable=False,
        )
    if isinstance(error, BaseMissingError):
        return JobError(
            code="base-missing",
            title="A result that the job builds on is gone",
            detail=f"{error}. Submit a new job that does not build on it, or make that result again first.",
            retryable=False,
        )
    return JobError(
        code="image-missing",
        title="A stored image of the job is gone",
        detail=f"{error}. Upload the images again and submit a new job.",
        retryable=False,
    )
