"""What Ctrl-C, a termination and a closed terminal do to this process."""

import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


@contextmanager
def handled_signals(handler: Callable[[int, FrameType | None], object]) -> Iterator[None]:
    """Send SIGINT, SIGTERM and SIGHUP to `handler` within the block; those ignored (nohup) stay ignored."""
    heard = [number for number in STOP_SIGNALS if signal.getsignal(number) is not signal.SIG_IGN]
    before = {number: signal.signal(number, handler) for number in heard}
    try:
        yield
    finally:
        for number, old in before.items():
            signal.signal(number, old)


@contextmanager
def deferred_signals() -> Iterator[None]:
    """Hold back the signals that end us until the block is done, then raise KeyboardInterrupt."""
    caught: list[int] = []
    with handled_signals(lambda number, _frame: caught.append(number)):
        yield
    if caught:
        raise KeyboardInterrupt


@contextmanager
def signals_as_interrupt() -> Iterator[None]:
    """Make SIGTERM and SIGHUP behave like Ctrl-C within the block."""
    with handled_signals(signal.default_int_handler):
        yield
