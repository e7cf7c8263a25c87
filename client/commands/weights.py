"""Commands about network weights; they run where workers are installed."""

import os
import sys
from pathlib import Path
from typing import Annotated, NoReturn

import typer

from client.commands.running import require_worker_extra
from client.console import reporting_errors

NAMES = typer.Argument(metavar="NAME", help="Weights or backbones, as `congeal weights list` names them.")
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]

app = typer.Typer(help="List, bring and verify network weights on this machine.", no_args_is_help=True)


@app.command("list")
@reporting_errors
def list_weights(as_json: AsJson = False) -> None:
    """List all weights: which backbones need them, their size, license and source, and where they lie here."""
    run("list", *json_option(as_json))


@app.command()
@reporting_errors
def pull(
    names: Annotated[list[str], NAMES],
    force: Annotated[bool, typer.Option("--force", help="Bring them anew even when they are here.")] = False,
) -> None:
    """Bring weights from the hub into CONGEAL_WEIGHTS_DIR, or into the hub's cache when that is unset."""
    run("pull", *(["--force"] if force else []), "--", *names)


@app.command()
@reporting_errors
def verify(
    names: Annotated[list[str] | None, NAMES] = None,
    as_json: AsJson = False,
) -> None:
    """Compare files with their checksums, of all weights that are here or of those named; exits with 5 on damage."""
    run("verify", *json_option(as_json), "--", *(names or []))


@app.command()
@reporting_errors
def convert(
    name: Annotated[str, typer.Argument(metavar="NAME", help="What the file holds: mvdream.")],
    checkpoint: Annotated[Path, typer.Argument(help="sd-v2.1-base-4view.pt, as released.")],
    tokenizer: Annotated[
        Path | None,
        typer.Option(
            help="Folder tokenizer/ of any Stable Diffusion checkpoint; by default that of sd15, if it is here."
        ),
    ] = None,
) -> None:
    """Turn a released, pickled checkpoint into weights in CONGEAL_WEIGHTS_DIR; it is read as tensors alone."""
    options = ["--tokenizer", str(tokenizer)] if tokenizer else []
    run(*options, "--", name, str(checkpoint), module="workers.conversion_command")


def json_option(as_json: bool) -> list[str]:
    """Hand on the wish for JSON."""
    return ["--json"] if as_json else []


def run(*arguments: str, module: str = "workers.weights_command") -> NoReturn:
    """Replace this process by the workers' own command, so that signals and the terminal reach it directly."""
    require_worker_extra()
    os.execv(sys.executable, [sys.executable, "-P", "-m", module, *arguments])
