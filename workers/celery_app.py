"""The Celery worker around a supervisor."""

from collections.abc import Callable

from celery import Celery, signals

from storage.broker import make_celery, queue_name
from workers.settings import WorkerSettings
from workers.tasks import register_wake


def make_worker_app(settings: WorkerSettings, *, work: Callable[[], None]) -> Celery:
    """Return an application that answers wake-ups."""
    app = make_celery(settings)
    register_wake(app, work)
    return app


def serve(
    app: Celery, *, name: str, lanes: list[str], on_ready: Callable[[], None], on_shutdown: Callable[[], None]
) -> int:
    """Take wake-ups until SIGTERM or SIGINT; returns the exit status.

    One thread takes tasks while the main thread keeps the connection to the broker alive.
    """

    def ready(**_: object) -> None:
        on_ready()

    def shutting_down(**_: object) -> None:
        on_shutdown()

    def keep_logging(**_: object) -> None:
        """Being connected is enough: Celery then leaves the loggers as they are."""

    signals.setup_logging.connect(keep_logging)
    signals.worker_ready.connect(ready)
    signals.worker_shutting_down.connect(shutting_down)
    worker = app.Worker(
        hostname=f"{name}@%h",
        queues=[queue_name(lane) for lane in lanes],
        pool="threads",
        concurrency=1,
        without_gossip=True,
        without_mingle=True,
        without_heartbeat=True,
        quiet=True,
    )
    worker.start()
    return int(worker.exitcode or 0)
