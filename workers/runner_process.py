"""The supervisor's handle on its runner."""

import os
import signal
import subprocess
import sys
import threading
import time
from contextlib import suppress
from queue import Empty, SimpleQueue
from typing import BinaryIO

import structlog

from api_schemas.base import Schema
from workers.protocol import (
    AliveMessage,
    Message,
    ReadyMessage,
    RunCommand,
    StartCommand,
    decode_message,
    encode,
)

# Threads that spin while they wait bring small operations to a halt as soon as a core is shared: the dense
# descriptor of one picture took 2.1 s with two spinning threads, and 0.09 s with two that sleep.
PATIENT_THREADS = {"OMP_WAIT_POLICY": "PASSIVE"}
RUNNER_COMMAND = (sys.executable, *(["-P"] if sys.flags.safe_path else []), "-m", "workers.runner")

log = structlog.get_logger("workers.supervisor")


class RunnerLostError(Exception):
    """The runner died or was killed; says how."""


class RunnerProcess:
    """Starts, feeds, hears and kills one runner at a time; a runner is reused from job to job.

    `ensure_ready` may be called from any thread, the rest from the thread that supervises the job.
    """

    def __init__(self, start: StartCommand, *, start_timeout_s: float) -> None:
        self._start_command = start
        self._start_timeout_s = start_timeout_s
        self._starting = threading.Lock()
        self._link: _Link | None = None
        self._ready: ReadyMessage | None = None
        self.runs = 0
        """Runs given to the present runner."""
        self.peak_rss_bytes = 0
        """Largest resident size that the present runner has told of."""

    def ensure_ready(self) -> ReadyMessage:
        """Return the runner's introduction, starting a runner if there is none.

        Raises:
            RunnerLostError: it died while starting, or took too long.
        """
        with self._starting:
            if self._ready is None or self._link is None or not self._link.alive:
                self.kill()
                self._ready = self._start()
            return self._ready

    def send(self, command: Schema) -> None:
        """Send a command.

        Raises:
            RunnerLostError: there is no runner, or it has died.
        """
        link = self._current()
        if isinstance(command, RunCommand):
            self.runs += 1
        link.write(command)

    def receive(self, timeout_s: float) -> Message | None:
        """Return the runner's next message, or None when none came in time.

        Raises:
            RunnerLostError: the runner has died and all it said was read.
        """
        message = self._current().read(timeout_s)
        if isinstance(message, AliveMessage):
            self.peak_rss_bytes = message.peak_rss_bytes
        return message

    @property
    def introduction(self) -> ReadyMessage | None:
        """What the runner said of itself when it became ready; None while there is none."""
        return self._ready

    @property
    def silent_s(self) -> float:
        """Seconds since anything was heard of the runner."""
        return time.monotonic() - self._current().heard_at

    def kill(self) -> None:
        """End the runner at once, whatever it does."""
        link, self._link, self._ready = self._link, None, None
        if link is not None:
            link.kill()

    def shutdown(self, grace_s: float) -> None:
        """Let the runner leave by closing the line; kill it if it does not in time."""
        link, self._link, self._ready = self._link, None, None
        if link is not None:
            link.shutdown(grace_s)

    def _start(self) -> ReadyMessage:
        self._link, self.runs, self.peak_rss_bytes = _Link(), 0, 0
        link = self._link
        link.write(self._start_command)
        message = link.read(self._start_timeout_s)
        if not isinstance(message, ReadyMessage):
            self.kill()
            raise RunnerLostError(f"the runner was not ready within {self._start_timeout_s:g} s")
        log.info("runner ready", pid=link.process.pid, device=message.device, backbones=message.backbones)
        return message

    def _current(self) -> "_Link":
        if self._link is None:
            raise RunnerLostError("there is no runner")
        return self._link


class _Link:
    """One process with its pipes."""

    def __init__(self) -> None:
        # A session of its own: a Ctrl-C for the worker does not reach it, and what it started is killed with it.
        self.process = subprocess.Popen(
            RUNNER_COMMAND,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            start_new_session=True,
            env={**PATIENT_THREADS, **os.environ},
        )
        self.heard_at = time.monotonic()
        self._inbox: SimpleQueue[Message | None] = SimpleQueue()
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self._commands = self.process.stdin
        threading.Thread(target=self._listen, args=(self.process.stdout,), name="runner", daemon=True).start()

    @property
    def alive(self) -> bool:
        return self.process.poll() is None

    def write(self, command: Schema) -> None:
        try:
            self._commands.write(encode(command))
            self._commands.flush()
        except OSError as error:
            raise RunnerLostError(self._describe_end()) from error

    def read(self, timeout_s: float) -> Message | None:
        try:
            message = self._inbox.get(timeout=max(0.0, timeout_s))
        except Empty:
            return None
        if message is None:
            self._inbox.put(None)
            raise RunnerLostError(self._describe_end())
        return message

    def kill(self) -> None:
        with suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()
        self._hang_up()

    def shutdown(self, grace_s: float) -> None:
        self._hang_up()
        try:
            self.process.wait(timeout=grace_s)
        except subprocess.TimeoutExpired:
            self.kill()

    def _hang_up(self) -> None:
        with suppress(OSError):  # what was still buffered has no reader any more
            self._commands.close()

    def _listen(self, messages: BinaryIO) -> None:
        try:
            for line in messages:
                self.heard_at = time.monotonic()
                self._inbox.put(decode_message(line))
        except ValueError:
            log.exception("the runner sent something that is no message", pid=self.process.pid)
        finally:
            self._inbox.put(None)
            messages.close()

    def _describe_end(self) -> str:
        try:
            code = self.process.wait(timeout=1)
        except subprocess.TimeoutExpired:
            return "the runner closed its line"
        if code >= 0:
            return f"the runner exited with status {code}"
        hint = " (often the system was out of memory)" if code == -signal.SIGKILL else ""
        return f"the runner was killed by {signal.Signals(-code).name}{hint}"
