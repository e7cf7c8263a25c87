"""Commands about jobs: submit, status, wait, fetch, cancel."""

import json
from pathlib import Path
from typing import Annotated

import typer
from pydantic import JsonValue
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn
from rich.table import Table

from api_schemas.base import rfc3339
from api_schemas.jobs import Job, JobState, Priority
from client.commands.options import DEFAULT_URL, JobId, Timeout, Url
from client.commands.validation import print_validation
from client.console import err, out, reporting_errors, say
from client.errors import JobUnsuccessfulError
from client.masks import match_masks
from client.progress import JobProgress
from client.sdk import Congeal
from client.uploads import collect_pictures

DEFAULT_METHOD = "neural_congealing"


@reporting_errors
def submit(
    pictures: Annotated[
        list[Path], typer.Argument(help="Picture files, or folders with pictures.", show_default=False)
    ],
    method: Annotated[
        str | None,
        typer.Option(
            "--method",
            "-m",
            help="Method id; see `congeal methods`.",
            show_default=f"{DEFAULT_METHOD}, or that of --extends",
        ),
    ] = None,
    param: Annotated[
        list[str] | None,
        typer.Option(
            "--param", "-p", metavar="KEY=VALUE", help="Parameter of the method; repeat for more. Values are JSON."
        ),
    ] = None,
    seed: Annotated[int, typer.Option(min=0, max=2**31 - 1)] = 0,
    name: Annotated[str | None, typer.Option(help="A name to find the job by.")] = None,
    priority: Annotated[Priority, typer.Option()] = Priority.NORMAL,
    masks: Annotated[
        Path | None,
        typer.Option(
            file_okay=False,
            help="Folder with a mask for every picture, white where the object is; named like it, or with _mask added.",
        ),
    ] = None,
    annotations: Annotated[
        Path | None,
        typer.Option(
            help="What is known of the pictures, by file name: a JSON file, COCO's among them, or a folder of "
            "SPair-71k. Other pictures in it are passed over.",
        ),
    ] = None,
    extends: Annotated[
        str | None, typer.Option(metavar="JOB", help="Add the pictures to the result of this job.")
    ] = None,
    validate: Annotated[
        bool,
        typer.Option(
            "--validate",
            help="Make no job: show all parameters, and what the names of annotated keypoints tell. Pictures are "
            "uploaded.",
        ),
    ] = False,
    wait: Annotated[bool, typer.Option(help="Follow the job to its end.")] = True,
    result: Annotated[
        Path | None,
        typer.Option("--out", "-o", file_okay=False, help="Folder for the result; it is fetched when the job ends."),
    ] = None,
    timeout_s: Timeout = None,
    url: Url = DEFAULT_URL,
) -> None:
    """Upload pictures and run a method on them; prints the job's id."""
    if result and validate:
        raise typer.BadParameter("--out needs a job: leave out --validate")
    if result and not wait:
        raise typer.BadParameter("--out needs --wait: a result can be fetched once the job has ended")
    params = parse_params(param or [])
    files = collect_pictures(pictures)
    matched = None if masks is None else match_masks(files, masks)
    with Congeal(url) as congeal:
        method = method or (congeal.get(extends).method if extends else DEFAULT_METHOD)
        if validate:
            print_validation(
                congeal.validate(
                    method, paths=[*files], masks=matched, annotations=annotations, extends=extends, params=params
                )
            )
            return
        job = congeal.submit(
            method,
            paths=[*files],
            masks=matched,
            annotations=annotations,
            extends=extends,
            params=params,
            seed=seed,
            name=name,
            priority=priority,
        )
        out.print(job.id, soft_wrap=True)
        if wait:
            follow(congeal, job.id, timeout_s=timeout_s)
        if result:
            download(congeal, job.id, result)


@reporting_errors
def status(
    job_id: JobId,
    as_json: Annotated[bool, typer.Option("--json", help="Print the whole job as JSON.")] = False,
    url: Url = DEFAULT_URL,
) -> None:
    """Show how a job stands."""
    with Congeal(url) as congeal:
        job = congeal.get(job_id)
    if as_json:
        out.print_json(job.model_dump_json())
    else:
        out.print(job_table(job))


@reporting_errors
def wait(job_id: JobId, timeout_s: Timeout = None, url: Url = DEFAULT_URL) -> None:
    """Follow a job to its end; exits with 1 when it ends without a result."""
    with Congeal(url) as congeal:
        follow(congeal, job_id, timeout_s=timeout_s)


@reporting_errors
def fetch(
    job_id: JobId,
    folder: Annotated[Path, typer.Option("--out", "-o", file_okay=False, help="Folder for the result.")],
    url: Url = DEFAULT_URL,
) -> None:
    """Download a result: every artifact, verified, and manifest.json; what is there already is kept."""
    with Congeal(url) as congeal:
        download(congeal, job_id, folder)


@reporting_errors
def cancel(
    job_id: JobId,
    reason: Annotated[str | None, typer.Option(help="Kept with the job.")] = None,
    url: Url = DEFAULT_URL,
) -> None:
    """Ask a job to stop."""
    with Congeal(url) as congeal:
        job = congeal.cancel(job_id, reason=reason)
    say(f"{job.id} {'is ' + job.state.value if job.state.is_terminal else 'is stopping'}")


def follow(congeal: Congeal, job_id: str, *, timeout_s: float | None = None) -> Job:
    """Show a job's progress up to its end.

    Raises:
        JobUnsuccessfulError: it ended without a result.
        WaitTimeoutError: it has not ended in time.
    """
    try:
        with JobProgress(err) as progress:
            job = congeal.wait(job_id, timeout_s=timeout_s, on_event=progress)
    except KeyboardInterrupt:
        say(f"{job_id} goes on; `congeal wait {job_id}` follows it again, `congeal cancel {job_id}` stops it")
        raise
    if job.state is not JobState.SUCCEEDED:
        raise JobUnsuccessfulError(job)
    return job


def download(congeal: Congeal, job_id: str, folder: Path) -> None:
    """Fetch a result with a progress bar."""
    columns = (TextColumn("fetching"), BarColumn(), MofNCompleteColumn(), TextColumn("{task.description}"))
    with Progress(*columns, console=err, disable=not err.is_terminal) as bars:
        bar = bars.add_task("", total=None)
        manifest = congeal.fetch(
            job_id, folder, on_artifact=lambda artifact: bars.update(bar, advance=1, description=artifact.name)
        )
        bars.update(bar, total=len(manifest.artifacts), description="")
    say(f"{len(manifest.artifacts)} artifacts and manifest.json in {folder}")


def parse_params(pairs: list[str]) -> dict[str, JsonValue]:
    """Read `key=value` pairs; a value that is no JSON is taken as text.

    Raises:
        typer.BadParameter: a pair without `=`, or a key given twice.
    """
    params: dict[str, JsonValue] = {}
    for pair in pairs:
        key, sign, value = pair.partition("=")
        if not key or not sign:
            raise typer.BadParameter(f"{pair!r} is not of the form KEY=VALUE", param_hint="--param")
        if key in params:
            raise typer.BadParameter(f"{key!r} is given twice", param_hint="--param")
        params[key] = json_or_text(value)
    return params


def json_or_text(value: str) -> JsonValue:
    """Return the JSON value, or the text itself."""
    try:
        parsed: JsonValue = json.loads(value)
    except ValueError:
        return value
    return parsed


def job_table(job: Job) -> Table:
    """Lay out what matters about a job."""
    table = Table.grid(padding=(0, 2))
    rows: list[tuple[str, str]] = [
        ("job", job.id),
        ("state", state_text(job)),
        ("method", f"{job.method} {job.method_version}"),
    ]
    if job.name:
        rows.append(("name", job.name))
    if job.queue:
        rows.append(("queue", f"place {job.queue.position} in lane {job.queue.lane}"))
    if job.inputs.extends:
        rows.append(("extends", job.inputs.extends))
    rows += [("images", str(len(job.inputs.images))), ("params", json.dumps(job.params)), ("seed", str(job.seed))]
    times = {"created": job.created_at, "started": job.started_at, "finished": job.finished_at}
    rows += [(name, rfc3339(moment)) for name, moment in times.items() if moment]
    if job.error:
        rows.append(("error", f"{job.error.code}: {job.error.detail}"))
    for row in rows:
        table.add_row(*row)
    return table


def state_text(job: Job) -> str:
    """Say in one line how a job stands."""
    if job.state is not JobState.RUNNING or not job.progress:
        return job.state.value
    stopping = ", stopping" if job.cancel_requested_at else ""
    return f"running {job.stage or ''} {job.progress.fraction:.0%}{stopping}"
