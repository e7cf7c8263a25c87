"""A whole Congeal on this machine, as `congeal up` starts it."""

import os
import signal
import subprocess
import sys
from pathlib import Path

from client.processes import free_port
from tests.client.process_tree import descendants

CONGEAL = [sys.executable, "-m", "client"]


class Up:
    """A `congeal up` that runs."""

    def __init__(self, folder: Path) -> None:
        self.port = free_port("127.0.0.1")
        self.url = f"http://127.0.0.1:{self.port}"
        self.data_dir = folder / "data"
        self.environment = {**os.environ, "CONGEAL_URL": self.url, "CONGEAL_THREADS": "1", "COLUMNS": "200"}
        self.process = subprocess.Popen(
            [*CONGEAL, "up", "--port", str(self.port), "--data-dir", str(self.data_dir)],
            env=self.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            # Shells start background jobs with SIGINT ignored, which a test run would hand down.
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
        )

    def first_line(self) -> str:
        assert self.process.stdout
        return self.process.stdout.readline()

    def run(self, *args: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [*CONGEAL, *args], env=self.environment, capture_output=True, text=True, timeout=120, check=False
        )

    def family(self) -> list[int]:
        return descendants(self.process.pid)
