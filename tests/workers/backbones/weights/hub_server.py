"""A hub on this machine: the part of its protocol that brings files, and the accidents that happen with it."""

import hashlib
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Self
from urllib.parse import unquote

COMMIT = "0123456789abcdef0123456789abcdef01234567"
PATIENCE_S = 20.0


@dataclass
class Repository:
    """Files by path, and how the hub treats those who ask for them."""

    files: dict[str, bytes]
    promised: dict[str, bytes] = field(default_factory=dict)
    """Contents whose checksum the hub announces, where they are not those that it sends."""
    refusal: tuple[int, str] | None = None
    """HTTP status and the hub's error code."""
    cuts: int = 0
    """How many downloads break off in the middle."""
    on_half: Callable[[], object] | None = None
    """Called when half of a file is sent; the other half waits for it."""


class HubServer:
    """Serves repositories under `http://127.0.0.1:<port>` until closed."""

    def __init__(self) -> None:
        self.repositories: dict[str, Repository] = {}
        self.downloads: list[str] = []
        """All files that were sent, each with the first byte asked for: `path@0`."""
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(self))
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()


def _handler(hub: HubServer) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def do_HEAD(self) -> None:
            self._answer(with_body=False)

        def do_GET(self) -> None:
            self._answer(with_body=True)

        def log_message(self, *_: object) -> None:
            pass

        def _answer(self, *, with_body: bool) -> None:
            name, _, rest = unquote(self.path).lstrip("/").partition("/resolve/")
            path = rest.partition("/")[2]
            repository = hub.repositories.get(name.removeprefix("cdn/"))
            if repository is None:
                return self._refuse(404, "RepoNotFound")
            if repository.refusal:
                return self._refuse(*repository.refusal)
            if path not in repository.files:
                return self._refuse(404, "EntryNotFound")
            if is_large(path) and not name.startswith("cdn/"):
                return self._send_elsewhere(repository, path)
            return self._send(repository, path, with_body=with_body)

        def _send_elsewhere(self, repository: Repository, path: str) -> None:
            """Large files lie on another host, of which the hub tells the checksum and the size."""
            self.send_response(302)
            self.send_header("X-Repo-Commit", COMMIT)
            self.send_header("X-Linked-ETag", f'"{etag(path, repository.promised.get(path, repository.files[path]))}"')
            self.send_header("X-Linked-Size", str(len(repository.files[path])))
            self.send_header("Location", f"http://localhost:{self.server.server_address[1]}/cdn{self.path}")
            self.send_header("Content-Length", "0")
            self.end_headers()

        def _refuse(self, status: int, code: str) -> None:
            self.send_response(status)
            self.send_header("X-Error-Code", code)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def _send(self, repository: Repository, path: str, *, with_body: bool) -> None:
            content = repository.files[path]
            start = int(self.headers.get("Range", "bytes=0-").removeprefix("bytes=").partition("-")[0])
            self.send_response(206 if start else 200)
            self.send_header("X-Repo-Commit", COMMIT)
            self.send_header("ETag", f'"{etag(path, content)}"')
            self.send_header("Content-Length", str(len(content) - start))
            if start:
                self.send_header("Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}")
            self.end_headers()
            if with_body:
                hub.downloads.append(f"{path}@{start}")
                self._send_body(repository, content[start:])

        def _send_body(self, repository: Repository, content: bytes) -> None:
            half = len(content) // 2
            self.wfile.write(content[:half])
            self.wfile.flush()
            if repository.cuts > 0:
                repository.cuts -= 1
                self.close_connection = True
                return
            if repository.on_half:
                repository.on_half()
            self.wfile.write(content[half:])

        def handle(self) -> None:
            try:
                super().handle()
            except ConnectionError:  # the other side was killed
                self.close_connection = True

    return Handler


def is_large(path: str) -> bool:
    """Whether the hub keeps a file outside git."""
    return path.endswith(".safetensors")


def etag(path: str, content: bytes) -> str:
    """What the hub calls a version: of large files the SHA-256, of small ones the blob's name in git."""
    if is_large(path):
        return hashlib.sha256(content).hexdigest()
    return hashlib.sha1(b"blob %d\x00" % len(content) + content).hexdigest()
