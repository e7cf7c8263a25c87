"""The `congeal` command."""

from importlib.metadata import version
from typing import Annotated

import typer

from client.commands import demo, edits, jobs, meshes, methods, running, weights
from client.console import out

app = typer.Typer(
    name="congeal",
    help="Align sets of images: upload pictures of one kind of thing, get back how they correspond.",
    epilog="Exit codes: 0 done, 1 job failed or canceled, 2 wrong usage, 3 service unreachable, 4 refused by the "
    "service, 5 gave up (timeout, damaged download, a part of an embedded service ended).",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)
for command in (
    running.up,
    running.serve,
    running.worker,
    jobs.submit,
    jobs.status,
    jobs.wait,
    jobs.fetch,
    jobs.cancel,
    edits.edit,
    methods.methods,
    demo.demo,
):
    app.command()(command)
app.add_typer(meshes.app, name="meshes")
app.add_typer(weights.app, name="weights")


def show_version(wanted: bool) -> None:
    """Print the version and leave."""
    if wanted:
        out.print(version("congeal"))
        raise typer.Exit


@app.callback()
def main(
    _version: Annotated[
        bool, typer.Option("--version", callback=show_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Align sets of images: upload pictures of one kind of thing, get back how they correspond."""
