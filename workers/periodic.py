"""A thread that does one thing again and again."""

import threading
from collections.abc import Callable

import structlog

log = structlog.get_logger("workers")


class Periodic:
    """Calls `act` at once and then every `period_s` seconds; an error is logged and does not end it."""

    def __init__(self, name: str, act: Callable[[], object], *, period_s: float) -> None:
        self._name = name
        self._act = act
        self._period_s = period_s
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._repeat, name=name, daemon=True)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def stop(self) -> None:
        """End; returns when no call is under way any more."""
        self._stopped.set()
        if self._thread.is_alive():
            self._thread.join()

    def _repeat(self) -> None:
        while not self._stopped.is_set():
            try:
                self._act()
            except Exception:
                log.exception("a periodic duty failed; it is tried again", duty=self._name)
            self._stopped.wait(self._period_s)
