"""What wraps every request: an id, security headers, a size limit, and the last net for errors."""

import re
import time
from uuid import uuid4

import structlog
from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service.problems import BODY_TOO_LARGE, INTERNAL_ERROR, ProblemError, problem_response
from service.settings import ServiceSettings

logger = structlog.get_logger(__name__)

REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")
# The interactive documentation loads its script from a content delivery network.
SCRIPTED_PAGES = frozenset({"/docs", "/redoc"})
SECURITY_HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "X-Frame-Options": "DENY",
}
CONTENT_SECURITY_POLICY = "default-src 'none'; frame-ancestors 'none'; sandbox"


class RequestContextMiddleware:
    """Give each request an id, log its outcome, and answer what nothing else caught with a 500 problem."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        request_id = _request_id(scope)
        scope.setdefault("state", {})["request_id"] = request_id
        outcome = _Outcome(send, scope, request_id)
        with structlog.contextvars.bound_contextvars(request_id=request_id):
            try:
                await self.app(scope, receive, outcome.send)
            except Exception:
                logger.exception("request_failed", method=scope["method"], path=scope["path"])
                if outcome.status is None:
                    await _internal_error(scope, receive, outcome.send)
            finally:
                outcome.log()


class _Outcome:
    """Adds headers to the response as it passes and remembers how it went."""

    def __init__(self, send: Send, scope: Scope, request_id: str) -> None:
        self._send = send
        self._scope = scope
        self._request_id = request_id
        self._started = time.monotonic()
        self.status: int | None = None

    async def send(self, message: Message) -> None:
        """Pass a message on to the client."""
        if message["type"] == "http.response.start":
            self.status = message["status"]
            headers = MutableHeaders(scope=message)
            headers["X-Request-Id"] = self._request_id
            for name, value in SECURITY_HEADERS.items():
                headers.setdefault(name, value)
            if self._scope["path"] not in SCRIPTED_PAGES:
                headers.setdefault("Content-Security-Policy", CONTENT_SECURITY_POLICY)
        await self._send(message)

    def log(self) -> None:
        """Write the line of the access log."""
        logger.info(
            "request",
            method=self._scope["method"],
            path=self._scope["path"],
            status=self.status,
            seconds=round(time.monotonic() - self._started, 4),
        )


def _request_id(scope: Scope) -> str:
    given = Headers(scope=scope).get("x-request-id", "")
    return given if REQUEST_ID.fullmatch(given) else uuid4().hex


async def _internal_error(scope: Scope, receive: Receive, send: Send) -> None:
    request = Request(scope, receive)
    detail = f"this is a fault of the service; its log has more under request {request.state.request_id}"
    await problem_response(request, ProblemError(INTERNAL_ERROR, detail))(scope, receive, send)


class BodyLimitMiddleware:
    """Refuse bodies above the limit for their kind: by Content-Length at once, else while they arrive."""

    def __init__(self, app: ASGIApp, settings: ServiceSettings) -> None:
        self.app = app
        self.settings = settings

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        limit = self._limit(headers)
        declared = headers.get("content-length", "")
        if declared.isdigit() and int(declared) > limit:
            response = problem_response(Request(scope, receive), _too_large(limit, int(declared)))
            await response(scope, receive, send)
            return
        await self.app(scope, _limited(receive, limit), send)

    def _limit(self, headers: Headers) -> int:
        is_multipart = headers.get("content-type", "").lower().startswith("multipart/")
        return self.settings.max_body_bytes if is_multipart else self.settings.max_json_bytes


def _limited(receive: Receive, limit: int) -> Receive:
    received = 0

    async def receive_within_limit() -> Message:
        nonlocal received
        message = await receive()
        received += len(message.get("body", b""))
        if received > limit:
            raise _too_large(limit, None)
        return message

    return receive_within_limit


def _too_large(limit: int, declared: int | None) -> ProblemError:
    size = "it is longer" if declared is None else f"it has {declared}"
    return ProblemError(BODY_TOO_LARGE, f"a body of this kind may have {limit} bytes, {size}; split the request")
