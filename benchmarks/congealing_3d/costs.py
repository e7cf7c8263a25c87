"""What work costs: seconds, and memory of a process of its own."""

from __future__ import annotations

import resource
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from typing import ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")
_KIB = 1024


@dataclass(frozen=True)
class Cost:
    """CPU seconds of this process, and seconds that passed."""

    cpu_s: float
    wall_s: float

    def __add__(self, other: Cost) -> Cost:
        """Do both, one after the other."""
        return Cost(self.cpu_s + other.cpu_s, self.wall_s + other.wall_s)


def timed(work: Callable[[], T]) -> tuple[T, Cost]:
    """Do something and tell what it cost."""
    began, wall_began = time.process_time(), time.perf_counter()
    result = work()
    return result, Cost(time.process_time() - began, time.perf_counter() - wall_began)


def in_own_process(work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """Do something in a fresh process; begin with it, as a process inherits the peak of the one that starts it."""
    with ProcessPoolExecutor(1, get_context("spawn")) as pool:
        return pool.submit(work, *args, **kwargs).result()


def peak_gb() -> float:
    """Most memory that this process ever held."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * _KIB / 1e9
