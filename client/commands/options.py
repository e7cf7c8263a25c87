"""Options that several commands share."""

from pathlib import Path
from typing import Annotated

import typer

from client.sdk import DEFAULT_URL as DEFAULT_URL

Url = Annotated[str, typer.Option("--url", envvar="CONGEAL_URL", help="Address of the service.")]
JobId = Annotated[str, typer.Argument(metavar="JOB", help="Job id, such as job_01k….", show_default=False)]
Timeout = Annotated[
    float | None,
    typer.Option("--timeout", min=0.1, help="Seconds after which to stop waiting.", show_default="no limit"),
]
Host = Annotated[str, typer.Option(envvar="CONGEAL_HOST", help="Address to listen on.")]
Port = Annotated[
    int, typer.Option(envvar="CONGEAL_PORT", min=0, max=65535, help="Port to listen on; 0 = any free one.")
]
DataDir = Annotated[
    Path,
    typer.Option(
        envvar="CONGEAL_DATA_DIR", file_okay=False, help="Folder of the database, the messages and the bytes."
    ),
]

DEFAULT_HOST = "127.0.0.1"
DEFAULT_PORT = 8000
DEFAULT_DATA_DIR = Path("congeal-data")
