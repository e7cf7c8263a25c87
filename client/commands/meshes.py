"""Commands about meshes: upload one, and list those there are."""

from itertools import islice
from pathlib import Path
from typing import Annotated

import typer
from rich.table import Column, Table

from api_schemas.base import rfc3339
from client.commands.options import DEFAULT_URL, Url
from client.console import out, reporting_errors, say
from client.sdk import Congeal

app = typer.Typer(help="Upload meshes for methods that take one, and list them.", no_args_is_help=True)


@app.command()
@reporting_errors
def upload(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="GLB, OBJ, PLY, or a ZIP with one of them.")],
    name: Annotated[str | None, typer.Option(help="What to call it; the file's name if left out.")] = None,
    url: Url = DEFAULT_URL,
) -> None:
    """Upload a mesh, with the materials and textures that it refers to; prints its id, which parameters take."""
    with Congeal(url) as congeal:
        mesh = congeal.upload_mesh(file, name=name)
    say(f"{mesh.vertices} vertices, {mesh.faces} faces, colours: {mesh.colours}")
    for warning in mesh.warnings:
        say(f"warning: {warning}")
    out.print(mesh.id, soft_wrap=True)


@app.command("list")
@reporting_errors
def list_meshes(
    limit: Annotated[int, typer.Option(min=1, help="How many of the newest.")] = 50, url: Url = DEFAULT_URL
) -> None:
    """List uploaded meshes, newest first."""
    with Congeal(url) as congeal:
        meshes = list(islice(congeal.meshes(), limit))
    table = Table(Column("mesh", no_wrap=True), "name", "faces", "colours", "created", box=None)
    for mesh in meshes:
        table.add_row(mesh.id, mesh.name, str(mesh.faces), mesh.colours, rfc3339(mesh.created_at))
    out.print(table)
