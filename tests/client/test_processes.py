import os
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from client.errors import EmbeddedServiceError
from client.processes import Child, EmbeddedService, free_port, refuse_taken_port
from tests.client.process_tree import is_alive, survivors

SLEEPER = "import time, sys; print('awake', flush=True); time.sleep(600)"


def module(folder: Path, name: str, source: str) -> dict[str, str]:
    """Write a module and return an environment in which `python -P -m` finds it."""
    (folder / f"{name}.py").write_text(textwrap.dedent(source))
    return {**os.environ, "PYTHONPATH": str(folder)}


def wait_for(condition: Callable[[], object], what: str) -> None:
    deadline = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < deadline, f"{what} did not happen in 20 s"
        time.sleep(0.05)


def test_a_childs_end_is_told_with_the_end_of_its_log(tmp_path: Path) -> None:
    environment = module(tmp_path, "brief", "import sys; print('out of cheese'); sys.exit(7)")
    child = Child("api", "brief", environment=environment, log=tmp_path / "logs" / "api.log")
    child.start()
    wait_for(lambda: not child.is_running(), "the end")
    assert child.exit_code() == 7
    assert "exit code 7" in child.epitaph()
    assert "out of cheese" in child.epitaph()


def test_a_stubborn_child_is_killed_with_what_it_started(tmp_path: Path) -> None:
    environment = module(
        tmp_path,
        "stubborn",
        """
        import signal, subprocess, sys, time
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        print(subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"]).pid, flush=True)
        time.sleep(600)
        """,
    )
    lines: list[str] = []
    child = Child("worker", "stubborn", environment=environment, log=tmp_path / "worker.log")
    child.start(lambda _name, line: lines.append(line))
    wait_for(lambda: lines, "the first line")
    grandchild = int(lines[0])
    assert is_alive(grandchild)
    child.ask_to_stop()
    child.kill()
    assert not child.is_running()
    assert survivors([grandchild], timeout_s=5) == []


def test_a_taken_port_is_refused_with_the_remedy() -> None:
    port = free_port("127.0.0.1")
    refuse_taken_port("127.0.0.1", port)
    listener = [sys.executable, "-m", "http.server", str(port), "--bind", "127.0.0.1"]
    with subprocess.Popen(listener, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        try:
            wait_for(lambda: is_taken(port), "listening")
        finally:
            process.kill()


def is_taken(port: int) -> bool:
    try:
        refuse_taken_port("127.0.0.1", port)
    except EmbeddedServiceError as error:
        return f"port {port}" in str(error) and "--port" in str(error)
    return False


def test_a_death_during_a_blocking_call_interrupts_it(tmp_path: Path) -> None:
    service = EmbeddedService(host="127.0.0.1", port=0, data_dir=tmp_path, logs=tmp_path)
    environment = module(tmp_path, "sleeper", SLEEPER)
    service.children = [Child("worker", "sleeper", environment=environment, log=tmp_path / "worker.log")]
    before = signal.getsignal(signal.SIGTERM)
    with service:
        began = time.monotonic()
        process = service.children[0]._process
        assert process

        def compute() -> None:
            with service.supervised():
                process.kill()
                time.sleep(30)

        with pytest.raises(EmbeddedServiceError, match="worker"):
            compute()
    assert time.monotonic() - began < 10
    assert signal.getsignal(signal.SIGTERM) is before


@pytest.mark.parametrize(
    ("host", "url"),
    [("127.0.0.1", "http://127.0.0.1:81"), ("0.0.0.0", "http://127.0.0.1:81"), ("::1", "http://[::1]:81")],
)
def test_the_address_is_one_that_this_machine_reaches(host: str, url: str, tmp_path: Path) -> None:
    assert EmbeddedService(host=host, port=81, data_dir=tmp_path, logs=tmp_path).url == url
