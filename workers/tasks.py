"""The one Celery task: a wake-up. It carries no job; the row is the job."""

from collections.abc import Callable

from celery import Celery

from storage.broker import WAKE_TASK


def register_wake(app: Celery, work: Callable[[], None]) -> None:
    """Let every wake-up call `work`, which takes the best job there is, of whatever lane the worker serves."""

    @app.task(name=WAKE_TASK)  # type: ignore[untyped-decorator]
    def wake(lane: str) -> None:
        del lane
        work()
