"""The command about edits: paint once, and bring the edit on all images."""

from pathlib import Path
from typing import Annotated

import typer
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

from api_schemas.edits import Edit, EditBlend, EditSpace
from api_schemas.jobs import Job
from client.commands.options import DEFAULT_URL, JobId, Url
from client.console import err, out, reporting_errors, say
from client.sdk import Congeal

IMAGE_HELP = "image id, or its place in the set from 0"


@reporting_errors
def edit(
    job_id: JobId,
    layer: Annotated[Path, typer.Argument(metavar="LAYER", help="Picture with the paint, PNG with alpha.")],
    space: Annotated[
        EditSpace, typer.Option(help="What the layer covers: the whole atlas (square), or one whole image.")
    ] = "atlas",
    image: Annotated[str | None, typer.Option(help=f"For space image: {IMAGE_HELP}.", show_default=False)] = None,
    target: Annotated[
        list[str] | None,
        typer.Option("--target", "-t", help=f"Image that gets the paint; repeat for more. An {IMAGE_HELP}."),
    ] = None,
    blend: Annotated[EditBlend, typer.Option(help="How the composites show the paint.")] = "over",
    opacity: Annotated[float, typer.Option(min=0.0, max=1.0, help="Multiplies the paint's alpha.")] = 1.0,
    saliency: Annotated[bool, typer.Option(help="Thin the paint where the map is not sure.")] = False,
    max_side: Annotated[int, typer.Option(min=64, max=4096, help="Longest side of the results in pixels.")] = 1024,
    name: Annotated[str | None, typer.Option(help="A name to find the edit by.")] = None,
    folder: Annotated[
        Path | None,
        typer.Option("--out", "-o", file_okay=False, help="Folder for the pictures; they are fetched at once."),
    ] = None,
    url: Url = DEFAULT_URL,
) -> None:
    """Lay a painted picture over all images of a finished job; prints the edit's id."""
    with Congeal(url) as congeal:
        job = congeal.get(job_id)
        made = congeal.edit(
            job,
            layer,
            space=space,
            image=None if image is None else image_at(job, image),
            targets=None if target is None else [image_at(job, given) for given in target],
            blend=blend,
            opacity=opacity,
            saliency=saliency,
            max_side=max_side,
            name=name,
        )
        out.print(made.id, soft_wrap=True)
        if folder:
            download(congeal, made, folder)


def image_at(job: Job, given: str) -> str:
    """Return the id of an image that is given by its id or by its place in the set.

    Raises:
        typer.BadParameter: the set has no such place.
    """
    if not given.isdecimal():
        return given
    images = job.inputs.images
    if int(given) >= len(images):
        raise typer.BadParameter(f"the job has images 0 to {len(images) - 1}; there is none at {given}")
    return images[int(given)].id


def download(congeal: Congeal, made: Edit, folder: Path) -> None:
    """Fetch the pictures of an edit with a progress bar."""
    columns = (TextColumn("fetching"), BarColumn(), MofNCompleteColumn())
    with Progress(*columns, console=err, disable=not err.is_terminal) as bars:
        bar = bars.add_task("", total=2 * len(made.results))
        congeal.fetch_edit(made, folder, on_picture=lambda _: bars.update(bar, advance=1))
    say(f"{len(made.results)} layers and {len(made.results)} composites in {folder}")
