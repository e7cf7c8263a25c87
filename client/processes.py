"""Run the API and one worker beside each other as child processes, and end them together."""

import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from types import TracebackType
from typing import IO, Self

import httpx

from client.errors import EmbeddedServiceError
from client.signals import deferred_signals, handled_signals, signals_as_interrupt

# More than a worker takes to save a last checkpoint of its job (CONGEAL_SHUTDOWN_GRACE_S).
GRACE_S = 20.0
POLL_S = 0.1
TAIL_LINES = 15

OnLine = Callable[[str, str], None]
"""Called with a child's name and a line of its output."""


class Child:
    """A Python module that runs as a process in a session of its own, so that only its parent gets Ctrl-C."""

    def __init__(self, name: str, module: str, *, environment: Mapping[str, str], log: Path) -> None:
        self.name = name
        self.module = module
        self.log = log
        self._environment = dict(environment)
        self._process: subprocess.Popen[bytes] | None = None

    def start(self, on_line: OnLine | None = None) -> None:
        """Start the process; its output goes to the log file, or line by line to `on_line`."""
        if on_line:
            self._process = self._spawn(subprocess.PIPE)
            stream = self._process.stdout
            threading.Thread(target=self._forward, args=(stream, on_line), daemon=True).start()
            return
        self.log.parent.mkdir(parents=True, exist_ok=True)
        with self.log.open("ab") as stream:
            self._process = self._spawn(stream)

    def _spawn(self, output: IO[bytes] | int) -> subprocess.Popen[bytes]:
        return subprocess.Popen(
            [sys.executable, "-P", "-m", self.module],
            env={**self._environment, "PYTHONUNBUFFERED": "1", "PYTHONSAFEPATH": "1"},
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )

    def _forward(self, stream: IO[bytes], on_line: OnLine) -> None:
        with stream:
            for line in stream:
                on_line(self.name, line.decode("utf-8", errors="replace").rstrip())

    def exit_code(self) -> int | None:
        """Return the exit code, or None while the process runs."""
        return self._process.poll() if self._process else None

    def ask_to_stop(self) -> None:
        """Send SIGTERM, which lets the process finish what it is at."""
        if self._process:
            self._process.terminate()

    def is_running(self) -> bool:
        """Tell whether the process was started and has not ended."""
        return self._process is not None and self._process.poll() is None

    def kill(self) -> None:
        """Kill what is left of the process and of those that it started, and wait for its end."""
        if self._process:
            with suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()

    def epitaph(self) -> str:
        """Say how the process ended, with the last lines of its log."""
        head = f"{self.name} (python -m {self.module}) ended with exit code {self.exit_code()}"
        if not self.log.is_file():
            return head
        tail = self.log.read_text(errors="replace").splitlines()[-TAIL_LINES:]
        return "\n".join([f"{head}; the end of {self.log}:", *(f"  {line}" for line in tail)])


class EmbeddedService:
    """The API and one worker; a context manager that leaves no process behind."""

    def __init__(
        self,
        *,
        host: str,
        port: int,
        data_dir: Path,
        logs: Path,
        environment: Mapping[str, str] | None = None,
        on_line: OnLine | None = None,
    ) -> None:
        """Prepare; the children get this process's environment changed by `environment`, and port 0 is any free one."""
        self.host = host
        self.port = port or free_port(host)
        environment = {
            **os.environ,
            **(environment or {}),
            "CONGEAL_HOST": host,
            "CONGEAL_PORT": str(self.port),
            "CONGEAL_DATA_DIR": str(data_dir.resolve()),
        }
        self.children = [
            Child("api", "service", environment=environment, log=logs / "api.log"),
            Child("worker", "workers", environment=environment, log=logs / "worker.log"),
        ]
        self._on_line = on_line

    @property
    def url(self) -> str:
        """Address at which this machine reaches the API."""
        reachable = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(self.host, self.host)
        return f"http://[{reachable}]:{self.port}" if ":" in reachable else f"http://{reachable}:{self.port}"

    def __enter__(self) -> Self:
        refuse_taken_port(self.host, self.port)
        try:
            with deferred_signals():
                for child in self.children:
                    child.start(self._on_line)
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def wait_until_ready(self, timeout_s: float = 120.0) -> None:
        """Return once `/readyz` answers 200.

        Raises:
            EmbeddedServiceError: a child ended, or the time is over.
        """
        deadline = time.monotonic() + timeout_s
        with httpx.Client(base_url=self.url, timeout=5.0, trust_env=False) as http:
            while not is_ready(http):
                self.check_children()
                if time.monotonic() > deadline:
                    raise EmbeddedServiceError(f"{self.url}/readyz did not answer 200 within {timeout_s:g} s")
                time.sleep(POLL_S)

    def check_children(self) -> None:
        """Raise EmbeddedServiceError when a child has ended."""
        for child in self.children:
            if child.exit_code() is not None:
                raise EmbeddedServiceError(child.epitaph())

    def watch(self) -> None:
        """Return never; raises EmbeddedServiceError when a child ends."""
        while True:
            self.check_children()
            time.sleep(POLL_S)

    @contextmanager
    def supervised(self) -> Iterator[None]:
        """Interrupt the block when a child ends, and raise EmbeddedServiceError.

        The block may wait inside a system call, so it is interrupted by a signal to the main thread, which must be
        the caller.
        """
        done = threading.Event()
        death: list[EmbeddedServiceError] = []
        watcher = threading.Thread(target=self._await_death, args=(done, death), daemon=True)
        with signals_as_interrupt():
            watcher.start()
            try:
                yield
            except KeyboardInterrupt:
                if death:
                    raise death[0] from None
                raise
            finally:
                done.set()
                watcher.join()

    def _await_death(self, done: threading.Event, death: list[EmbeddedServiceError]) -> None:
        while not done.wait(POLL_S):
            try:
                self.check_children()
            except EmbeddedServiceError as error:
                death.append(error)
                signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGTERM)
                return

    def stop(self) -> None:
        """End both children: first kindly, after a grace period or a second Ctrl-C by force."""
        hurry = threading.Event()
        with handled_signals(lambda _number, _frame: hurry.set()):
            for child in self.children:
                child.ask_to_stop()
            deadline = time.monotonic() + GRACE_S
            while any(child.is_running() for child in self.children):
                if hurry.wait(POLL_S) or time.monotonic() > deadline:
                    break
            for child in self.children:
                child.kill()


def is_ready(http: httpx.Client) -> bool:
    """Tell whether the API answers 200 at /readyz."""
    try:
        return http.get("/readyz").status_code == 200
    except httpx.TransportError:
        return False


def free_port(host: str) -> int:
    """Return a port that nothing listens on at this moment."""
    with socket.create_server((host, 0), family=family_of(host)) as server:
        port: int = server.getsockname()[1]
        return port


def refuse_taken_port(host: str, port: int) -> None:
    """Raise EmbeddedServiceError when something else has the port already."""
    try:
        socket.create_server((host, port), family=family_of(host)).close()
    except OSError as error:
        raise EmbeddedServiceError(
            f"cannot listen on {host} port {port}: {error.strerror}. "
            "Give another with --port, or --port 0 for any free one."
        ) from error


def family_of(host: str) -> socket.AddressFamily:
    """Return the address family of a host."""
    return socket.AF_INET6 if ":" in host else socket.AF_INET
