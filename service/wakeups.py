"""Tell workers that there is work, without letting a slow broker slow an answer."""

import queue
import threading

from celery import Celery

from storage.broker import make_celery, wake
from storage.settings import StorageSettings

MAX_PENDING = 1000


class WakeUps:
    """Publishes wake-ups from a thread of its own; losing one is harmless, a reconciler sends it again."""

    def __init__(self, settings: StorageSettings) -> None:
        self._settings = settings
        self._lanes: queue.Queue[str | None] = queue.Queue(MAX_PENDING)
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Begin to publish."""
        app = make_celery(self._settings)
        # A daemon: a broker that does not answer must not hold up the end of the process.
        self._thread = threading.Thread(target=self._publish, args=(app,), name="wake-ups", daemon=True)
        self._thread.start()

    def send(self, lane: str) -> None:
        """Ask for a wake-up of a lane; returns at once."""
        try:
            self._lanes.put_nowait(lane)
        except queue.Full:
            return

    def stop(self, timeout_s: float = 2.0) -> None:
        """Publish what is asked for and end, or give up after a while."""
        if self._thread is None:
            return
        try:
            self._lanes.put_nowait(None)
        except queue.Full:
            return
        self._thread.join(timeout_s)

    def _publish(self, app: Celery) -> None:
        while (lane := self._lanes.get()) is not None:
            wake(app, lane)
