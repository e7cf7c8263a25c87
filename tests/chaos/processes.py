"""Real workers as separate processes, to be killed, frozen and thawed."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from storage.database.repositories.coordination import WorkerRepository
from tests.workers.workplace import TINY_METHOD, Workplace, runner_pids, wait_until
from workers.settings import WorkerSettings

QUICK = {
    "CONGEAL_LEASE_S": "3",
    "CONGEAL_HEARTBEAT_S": "0.5",
    "CONGEAL_RECONCILE_S": "0.5",
    "CONGEAL_WAKE_REPEAT_S": "2",
    "CONGEAL_CONTROL_POLL_S": "0.2",
    "CONGEAL_CHECKPOINT_INTERVAL_S": "0.2",
    "CONGEAL_CANCEL_GRACE_S": "1.5",
    "CONGEAL_WATCHDOG_S": "20",
    "CONGEAL_DEVICE": "cpu",
    "CONGEAL_THREADS": "1",
}
START_TIMEOUT_S = 60.0
END_TIMEOUT_S = 30.0


class WorkerProcess:
    """`python -m workers` in a process group of its own."""

    def __init__(self, place: Workplace, environment: dict[str, str], log: Path) -> None:
        self._place = place
        self._log = log
        before = self._registered()
        with log.open("ab") as sink:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "workers"], env=environment, stderr=sink, stdout=sink, start_new_session=True
            )
        try:
            wait_until(lambda: bool(self._registered() - before), timeout_s=START_TIMEOUT_S, what=self.log_text)
        except BaseException:
            self.kill()
            raise

    def log_text(self) -> str:
        """Return all that the worker has logged."""
        return self._log.read_text()

    def runner_pid(self) -> int:
        """Process id of the worker's runner."""
        (runner,) = runner_pids(self.process.pid)
        return runner

    def signal_group(self, number: signal.Signals) -> None:
        """Send a signal to the worker's whole process group (the runner is not in it)."""
        os.killpg(self.process.pid, number)

    def kill(self) -> None:
        """SIGKILL, as by the kernel or a pulled plug."""
        self.signal_group(signal.SIGKILL)
        self.process.wait(END_TIMEOUT_S)

    def freeze(self) -> None:
        """SIGSTOP, and wait until every thread has stopped: the signal alone may find one in the middle of a write."""
        self.signal_group(signal.SIGSTOP)
        wait_until(lambda: set(thread_states(self.process.pid)) == {"T"}, timeout_s=10, what=self.log_text)

    def leave(self) -> int:
        """SIGTERM; returns the exit status."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(END_TIMEOUT_S)

    def _registered(self) -> set[str]:
        with self._place.database.transaction(read_only=True) as session:
            return {worker.id for worker in WorkerRepository(session).all()}


class Site:
    """A workplace whose workers are processes."""

    def __init__(self, data_dir: Path, *, broker_url: str | None = None) -> None:
        self._environment = {**os.environ, **QUICK, "CONGEAL_DATA_DIR": str(data_dir)}
        paths = [str(TINY_METHOD), os.environ.get("PYTHONPATH", "")]
        self._environment["PYTHONPATH"] = os.pathsep.join(filter(None, paths))
        if broker_url is not None:
            self._environment["CONGEAL_BROKER_URL"] = broker_url
        self._folder = data_dir
        self._workers: list[WorkerProcess] = []
        self.place = Workplace.open(WorkerSettings(data_dir=data_dir, broker_url=broker_url))

    def any_worker(self) -> WorkerProcess:
        """Return a worker that runs; starting one takes seconds."""
        running = (worker for worker in self._workers if worker.process.poll() is None)
        return next(running, None) or self.start_worker()

    def start_worker(self) -> WorkerProcess:
        """Start a worker and wait until its runner is ready."""
        log = self._folder / f"worker-{len(self._workers)}.log"
        worker = WorkerProcess(self.place, self._environment, log)
        self._workers.append(worker)
        return worker

    def close(self) -> None:
        """End all that still runs."""
        for worker in self._workers:
            if worker.process.poll() is None:
                worker.signal_group(signal.SIGCONT)
                worker.kill()
        self.place.database.dispose()


@contextmanager
def open_site(data_dir: Path, *, broker_url: str | None = None) -> Iterator[Site]:
    """Give a site and leave no process behind."""
    site = Site(data_dir, broker_url=broker_url)
    try:
        yield site
    finally:
        site.close()


def is_alive(pid: int) -> bool:
    """Tell whether a process runs (and is no zombie)."""
    try:
        return _state(Path(f"/proc/{pid}/stat")) != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


def thread_states(pid: int) -> list[str]:
    """The kernel's letter for each thread of a process: R runs, S sleeps, T is stopped."""
    return [_state(stat) for stat in Path(f"/proc/{pid}/task").glob("*/stat")]


def _state(stat: Path) -> str:
    return stat.read_text().rpartition(")")[2].split()[0]
