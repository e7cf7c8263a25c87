"""The API behind a real socket: in a thread of this process, or as a process of its own."""

import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx
from fastapi import FastAPI

from service.server import Server
from tests.servers import free_port

START_TIMEOUT_S = 30.0


@contextmanager
def serving_thread(app: FastAPI) -> Iterator[str]:
    """Serve in a thread; yields the address."""
    with socket.socket(proto=socket.IPPROTO_TCP) as listener:
        listener.bind(("127.0.0.1", 0))
        server = Server(app)
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
        thread.start()
        try:
            url = f"http://127.0.0.1:{listener.getsockname()[1]}"
            _await_alive(url)
            yield url
        finally:
            server.should_exit = True
            thread.join(timeout=20)
            assert not thread.is_alive()


@dataclass(frozen=True)
class ServiceProcess:
    """A running `python -m service`."""

    port: int
    data_dir: Path
    log: Path

    @property
    def url(self) -> str:
        """Where it listens."""
        return f"http://127.0.0.1:{self.port}"


@contextmanager
def serving_process(
    folder: Path, *, environment: Mapping[str, str] | None = None, file_size_limit: int | None = None
) -> Iterator[ServiceProcess]:
    """Serve in a process of its own, whose files may be limited in size as they are on a full disk."""
    service = ServiceProcess(free_port(), folder / "data", folder / "service.log")
    limit = "" if file_size_limit is None else f"r.setrlimit(r.RLIMIT_FSIZE, ({file_size_limit},) * 2);"
    code = f"import resource as r, runpy; {limit} runpy.run_module('service', run_name='__main__')"
    settings = {"CONGEAL_DATA_DIR": str(service.data_dir), "CONGEAL_PORT": str(service.port), **(environment or {})}
    with service.log.open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-c", code], env={**os.environ, **settings}, stdout=log, stderr=subprocess.STDOUT
        )
    try:
        _await_alive(service.url)
        yield service
    finally:
        process.terminate()
        process.wait(timeout=20)


def _await_alive(url: str) -> None:
    deadline = time.monotonic() + START_TIMEOUT_S
    while time.monotonic() < deadline:
        try:
            if httpx.get(f"{url}/livez", trust_env=False).status_code == 200:
                return
        except httpx.TransportError:
            time.sleep(0.02)
    raise TimeoutError(f"no answer at {url} in {START_TIMEOUT_S} s")
