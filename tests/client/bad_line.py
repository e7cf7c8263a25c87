"""A bad line between client and service: a TCP proxy that cuts connections on purpose."""

import socket
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from urllib.parse import urlsplit


@dataclass
class BadLine:
    """What the proxy does to the next connections; every field may be changed while it runs."""

    url: str = ""
    cut_after: list[int] = field(default_factory=list)
    """Bytes of answers after which connections are cut, one entry a connection; none left = whole answers."""
    cut_at: list[bytes] = field(default_factory=list)
    """What an answer is cut after, one entry a connection; none left = whole answers."""
    refuse: bytes | None = None
    """Requests that contain this get no answer."""
    swap: tuple[bytes, bytes] | None = None
    """Bytes replaced in answers; both of the same length."""
    connections: int = 0
    requests: list[bytes] = field(default_factory=list)
    """The first bytes of every request."""


@dataclass
class Cut:
    """Where one answer ends too early."""

    budget: int | None
    mark: bytes | None
    seen: bytes = b""
    is_done: bool = False

    def take(self, chunk: bytes) -> bytes:
        """Return what of the next bytes still gets through."""
        before = len(self.seen)
        self.seen += chunk
        limit = self.budget
        if self.mark and self.mark in self.seen:
            limit = self.seen.index(self.mark) + len(self.mark)
        self.is_done = limit is not None and len(self.seen) >= limit
        return chunk if limit is None else chunk[: max(0, limit - before)]


@contextmanager
def bad_line(service_url: str) -> Iterator[BadLine]:
    """Run a proxy in front of a service; one connection carries one request."""
    target = urlsplit(service_url)
    with socket.create_server(("127.0.0.1", 0)) as server:
        line = BadLine(url=f"http://127.0.0.1:{server.getsockname()[1]}")
        stop = threading.Event()
        server.settimeout(0.1)
        address = (target.hostname or "", target.port or 0)
        thread = threading.Thread(target=_accept, args=(server, address, line, stop))
        thread.start()
        try:
            yield line
        finally:
            stop.set()
            thread.join()


def _accept(server: socket.socket, address: tuple[str, int], line: BadLine, stop: threading.Event) -> None:
    while not stop.is_set():
        try:
            near, _ = server.accept()
        except TimeoutError:
            continue
        line.connections += 1
        budget = line.cut_after.pop(0) if line.cut_after else None
        mark = line.cut_at.pop(0) if line.cut_at else None
        threading.Thread(target=_carry, args=(near, address, line, Cut(budget, mark)), daemon=True).start()


def _carry(near: socket.socket, address: tuple[str, int], line: BadLine, cut: Cut) -> None:
    with closing(near), closing(socket.create_connection(address)) as far:
        near.settimeout(20)
        far.settimeout(20)
        head = near.recv(65536)
        line.requests.append(head)
        if line.refuse and line.refuse in head:
            return
        far.sendall(head)
        threading.Thread(target=_pump, args=(near, far), daemon=True).start()
        _answer(far, near, line=line, cut=cut)


def _pump(near: socket.socket, far: socket.socket) -> None:
    try:
        while chunk := near.recv(65536):
            far.sendall(chunk)
    except OSError:
        return


def _answer(far: socket.socket, near: socket.socket, *, line: BadLine, cut: Cut) -> None:
    try:
        while chunk := far.recv(65536):
            if line.swap:
                chunk = chunk.replace(*line.swap)
            near.sendall(cut.take(chunk))
            if cut.is_done:
                near.shutdown(socket.SHUT_RDWR)
                return
    except OSError:
        return
