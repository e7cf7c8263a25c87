"""Commands that run the service itself: up, serve, worker."""

import os
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated, NoReturn

import typer
from rich.text import Text

from client.commands.options import DEFAULT_DATA_DIR, DEFAULT_HOST, DEFAULT_PORT, DataDir, Host, Port
from client.console import err, out, reporting_errors, say
from client.errors import EmbeddedServiceError
from client.processes import EmbeddedService
from client.signals import signals_as_interrupt


@reporting_errors
def up(
    host: Host = DEFAULT_HOST,
    port: Port = DEFAULT_PORT,
    data_dir: DataDir = DEFAULT_DATA_DIR,
    verbose: Annotated[
        bool, typer.Option("--verbose", "-v", help="Show the output of both parts here, not in DATA_DIR/logs.")
    ] = False,
) -> None:
    """Run the API and one worker together; Ctrl-C stops both."""
    require_worker_extra()
    logs = data_dir / "logs"
    on_line = show_line if verbose else None
    try:
        with (
            signals_as_interrupt(),
            EmbeddedService(host=host, port=port, data_dir=data_dir, logs=logs, on_line=on_line) as service,
        ):
            service.wait_until_ready()
            announce(service, data_dir=data_dir, logs=None if verbose else logs)
            service.watch()
    except KeyboardInterrupt:
        say("stopped")


@reporting_errors
def serve(host: Host = DEFAULT_HOST, port: Port = DEFAULT_PORT, data_dir: DataDir = DEFAULT_DATA_DIR) -> None:
    """Run the API alone."""
    become("service", {"CONGEAL_HOST": host, "CONGEAL_PORT": str(port), "CONGEAL_DATA_DIR": str(data_dir.resolve())})


@reporting_errors
def worker(data_dir: DataDir = DEFAULT_DATA_DIR) -> None:
    """Run one worker alone; it takes jobs from the database and the broker that the settings name."""
    require_worker_extra()
    become("workers", {"CONGEAL_DATA_DIR": str(data_dir.resolve())})


def require_worker_extra() -> None:
    """Raise EmbeddedServiceError when this installation can serve but not compute."""
    if find_spec("torch") is None:
        raise EmbeddedServiceError("a worker needs PyTorch; bring it with: pip install 'congeal[worker]'")


def become(module: str, environment: dict[str, str]) -> NoReturn:
    """Replace this process by a Python module, so that signals reach it directly."""
    os.execve(sys.executable, [sys.executable, "-P", "-m", module], {**os.environ, **environment})


def announce(service: EmbeddedService, *, data_dir: Path, logs: Path | None) -> None:
    """Print the address once the service answers."""
    out.print(f"Congeal runs at {service.url}", soft_wrap=True)
    say(f"data in {data_dir.resolve()}{f', logs in {logs.resolve()}' if logs else ''}; Ctrl-C stops it")


def show_line(name: str, line: str) -> None:
    """Print a line of a part's output with the part's name."""
    err.print(Text.assemble((f"{name:>6} | ", "dim"), line), soft_wrap=True)
