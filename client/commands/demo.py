"""The command that shows everything at work."""

from pathlib import Path
from typing import Annotated

import typer
from pydantic import JsonValue
from rich.table import Table

from client.commands.running import require_worker_extra
from client.console import out, reporting_errors
from client.demo import DemoOutcome, run_demo
from client.signals import signals_as_interrupt


@reporting_errors
def demo(
    folder: Annotated[
        Path, typer.Option("--out", "-o", file_okay=False, help="Folder for the pictures, the result and the logs.")
    ] = Path("out"),
) -> None:
    """Make pictures with known truth, align them with an embedded service, and score the answer."""
    require_worker_extra()
    with signals_as_interrupt():
        outcome = run_demo(folder)
    out.print(times_table(outcome))
    out.print(check_table(outcome))
    out.print(scores_table(outcome))
    out.print(f"contact sheet: {outcome.contact_sheet}", soft_wrap=True)


def times_table(outcome: DemoOutcome) -> Table:
    """Lay out the seconds of each stage."""
    table = Table(f"{outcome.job.method}, {outcome.images} pictures", "seconds")
    stages = outcome.job.metrics.get("stage_s")
    for name, seconds in stages.items() if isinstance(stages, dict) else ():
        table.add_row(name, value_text(seconds))
    table.add_section()
    table.add_row("all", value_text(outcome.job.metrics.get("wall_s")))
    return table


def check_table(outcome: DemoOutcome) -> Table:
    """Lay out the self-check, which needs no labels."""
    table = Table("self-check", "value")
    for name, value in (outcome.job.self_check or {}).items():
        if not isinstance(value, dict | list):
            table.add_row(name, value_text(value))
    return table


def scores_table(outcome: DemoOutcome) -> Table:
    """Lay out the scores against the known truth."""
    scores = outcome.scores
    table = Table("against the known truth", "result", "identity baseline")
    for row in scores.pck:
        table.add_row(f"PCK@{row.alpha:g}", f"{row.per_point:.1%}", f"{row.identity:.1%}")
    table.add_row("median error, px", value_text(scores.median_error_px), "")
    table.add_row("keypoints without a match", f"{scores.missing} of {scores.points}", "")
    return table


def value_text(value: JsonValue) -> str:
    """Write a figure with three places, and null as what it means."""
    if value is None:
        return "unknown"
    return f"{value:.3f}" if isinstance(value, float) else str(value)
