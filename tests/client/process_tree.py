"""Who runs, who started whom: read from Linux's /proc."""

import time
from collections.abc import Iterable
from pathlib import Path


def stat_of(pid: int) -> list[str]:
    """Return the state, the parent's id and so on (proc(5), /proc/pid/stat after the name); empty when it is gone."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return []


def is_alive(pid: int) -> bool:
    """Tell whether a process runs; one that only waits to be reaped does not."""
    return stat_of(pid)[:1] not in ([], ["Z"])


def command_of(pid: int) -> list[str]:
    """Return a process's command line."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_text().split("\0")[:-1]
    except OSError:
        return []


def descendants(pid: int) -> list[int]:
    """Return the ids of all processes that a process started, directly or not."""
    parents = {int(entry.name): stat_of(int(entry.name))[1:2] for entry in Path("/proc").glob("[0-9]*")}
    found = [pid]
    for ancestor in found:
        found += [child for child, parent in parents.items() if parent == [str(ancestor)]]
    return found[1:]


def survivors(pids: Iterable[int], *, timeout_s: float) -> list[int]:
    """Return those processes that still run after the time."""
    deadline = time.monotonic() + timeout_s
    alive = [pid for pid in pids if is_alive(pid)]
    while alive and time.monotonic() < deadline:
        time.sleep(0.05)
        alive = [pid for pid in alive if is_alive(pid)]
    return alive
