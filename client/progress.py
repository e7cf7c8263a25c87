"""Show the events of a job as they happen: a bar on a terminal, lines elsewhere."""

from collections.abc import Mapping
from types import TracebackType
from typing import Self

from pydantic import JsonValue
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn
from rich.text import Text

from api_schemas.events import TERMINAL_EVENTS, EventType, JobEvent

WORDS = {
    EventType.QUEUED: "waiting for a worker",
    EventType.STARTED: "starting",
    EventType.ATTEMPT_LOST: "worker lost; waiting for another",
    EventType.CANCEL_REQUESTED: "canceling",
    EventType.SUCCEEDED: "succeeded",
    EventType.FAILED: "failed",
    EventType.CANCELED: "canceled",
    EventType.EXPIRED: "expired",
}


class JobProgress:
    """Listener for `Congeal.wait(on_event=…)`; a context manager around the wait."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._bars = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            TaskProgressColumn(),
            TextColumn("{task.fields[metrics]}", style="dim"),
            TimeElapsedColumn(),
            console=console,
            disable=not console.is_terminal,
        )
        self._bar = self._bars.add_task("waiting for a worker", total=1.0, metrics="")
        self._stage = ""

    def __enter__(self) -> Self:
        self._bars.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bars.stop()

    def __call__(self, event: JobEvent) -> None:
        """Show one event."""
        match event.type:
            case EventType.PROGRESS:
                self._advance(event.data)
            case EventType.STAGE:
                self._name(str(event.data.get("stage", "")))
            case EventType.LOG:
                self._console.print(Text(str(event.data.get("message", "")), style="dim"))
            case kind if kind in WORDS:
                self._name(WORDS[kind])
        if event.type in TERMINAL_EVENTS:
            self._bars.update(self._bar, metrics="")
        if event.type is EventType.SUCCEEDED:
            self._bars.update(self._bar, completed=1.0)

    def _name(self, stage: str) -> None:
        if stage == self._stage:
            return
        self._stage = stage
        self._bars.update(self._bar, description=stage)
        if not self._console.is_terminal:
            self._console.print(Text(stage))

    def _advance(self, data: Mapping[str, JsonValue]) -> None:
        fraction = data.get("fraction")
        metrics = data.get("metrics")
        if isinstance(fraction, int | float):
            self._bars.update(self._bar, completed=float(fraction))
        if isinstance(metrics, dict):
            shown = "  ".join(
                f"{name} {value:.4g}" for name, value in metrics.items() if isinstance(value, int | float)
            )
            self._bars.update(self._bar, metrics=shown)
