"""Serve stored bytes: ranges, validators, and headers that keep a browser from running them."""

import re
from contextlib import ExitStack

import anyio.to_thread
from starlette.datastructures import Headers
from starlette.responses import FileResponse, Response
from starlette.types import Message, Receive, Scope, Send

from service.http_headers import content_etag, matches_etag
from service.middleware import CONTENT_SECURITY_POLICY
from service.problems import NOT_FOUND, RANGE_NOT_SATISFIABLE, ProblemError
from storage.blobs.base import BlobStore
from storage.errors import BlobNotFoundError

IMMUTABLE = "private, max-age=31536000, immutable"
BYTE_RANGES = re.compile(r"\s*bytes\s*=", re.IGNORECASE)
SHOWN_INLINE = ("image/png", "image/jpeg", "image/webp")


class BlobResponse(FileResponse):
    """A blob that never changes, as a response to GET or HEAD."""

    def __init__(
        self, blobs: BlobStore, key: str, *, sha256: str, media_type: str, filename: str, download: bool
    ) -> None:
        inline = media_type in SHOWN_INLINE and not download
        super().__init__(
            "",
            headers={
                "ETag": content_etag(sha256),
                "Cache-Control": IMMUTABLE,
                "Content-Security-Policy": CONTENT_SECURITY_POLICY,
            },
            media_type=media_type,
            filename=filename,
            content_disposition_type="inline" if inline else "attachment",
        )
        self._blobs = blobs
        self._key = key

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send the blob, the parts of it that Range asks for, or 304.

        Raises:
            ProblemError: the range lies outside the blob, or the blob is gone.
        """
        headers = Headers(scope=scope)
        if matches_etag(headers, self.headers["etag"]):
            await not_modified(self.headers["etag"])(scope, receive, send)
            return
        if not BYTE_RANGES.match(headers.get("range", "")):
            scope = _without_range(scope)
        with ExitStack() as stack:
            try:
                self.path = await anyio.to_thread.run_sync(stack.enter_context, self._blobs.path(self._key))
            except BlobNotFoundError as error:
                raise ProblemError(NOT_FOUND, "the stored bytes are gone; was the data folder cleared?") from error
            await super().__call__(scope, receive, _refusing(send, headers))


def not_modified(etag: str) -> Response:
    """Return a 304 for content that never changes."""
    return Response(status_code=304, headers={"ETag": etag, "Cache-Control": IMMUTABLE})


def _without_range(scope: Scope) -> Scope:
    """Leave out a Range whose unit is not bytes: RFC 9110 section 14.2 has it ignored."""
    return {**scope, "headers": [(name, value) for name, value in scope["headers"] if name != b"range"]}


def _refusing(send: Send, asked: Headers) -> Send:
    """Turn the plain text with which the framework refuses a range into a problem."""

    async def send_or_refuse(message: Message) -> None:
        if message["type"] == "http.response.start" and message["status"] in (400, 416):
            whole = Headers(raw=message["headers"]).get("content-range")
            size = f"; the content has {whole.removeprefix('bytes */')} bytes" if whole else ""
            raise ProblemError(
                RANGE_NOT_SATISFIABLE,
                f"the range {asked.get('range', '')[:100]!r} cannot be served{size}",
                headers={"Content-Range": whole} if whole else None,
            )
        await send(message)

    return send_or_refuse
