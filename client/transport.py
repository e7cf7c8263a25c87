"""HTTP requests with retries; every refusal becomes an exception of `client.errors`."""

import time
from collections.abc import Callable, Mapping
from typing import TypeVar
from urllib.parse import urlsplit

import httpx
from pydantic import ValidationError

from api_schemas.base import Schema
from api_schemas.problems import Problem
from client.errors import ProblemError, ServiceUnreachableError, UnexpectedAnswerError

Answer = TypeVar("Answer", bound=Schema)

MAX_ATTEMPTS = 5
FIRST_PAUSE_S = 0.25
LONGEST_PAUSE_S = 10.0
# Statuses of a service that is starting, overloaded or behind a proxy that cannot reach it.
BUSY_STATUSES = frozenset({429, 502, 503, 504})
LOOPBACK_HOSTS = frozenset({"127.0.0.1", "localhost", "::1"})


class Transport:
    """One HTTP connection pool to one service.

    All requests of the SDK are safe to repeat (reads, content-addressed uploads, queries, and creations
    that carry an Idempotency-Key), so all of them are retried on connection errors and while the service is busy.
    """

    def __init__(self, base_url: str, *, timeout_s: float) -> None:
        if urlsplit(base_url).scheme not in ("http", "https"):
            raise ValueError(f"{base_url!r} is not an address; give one such as http://127.0.0.1:8000")
        self.base_url = base_url.rstrip("/")
        # A proxy set for the internet must not stand between this machine and itself.
        self.http = httpx.Client(
            base_url=self.base_url,
            timeout=httpx.Timeout(timeout_s, connect=min(timeout_s, 10.0)),
            trust_env=urlsplit(base_url).hostname not in LOOPBACK_HOSTS,
        )

    def close(self) -> None:
        """Close the connections."""
        self.http.close()

    def get(self, path: str, model: type[Answer], *, params: Mapping[str, str | int] | None = None) -> Answer:
        """Return the JSON at `path` as a model."""
        return parse(self.send(lambda: self.http.get(path, params=params)), model)

    def post(
        self, path: str, model: type[Answer], *, body: Schema | None = None, idempotency_key: str | None = None
    ) -> Answer:
        """Send `body` as JSON and return the answer as a model."""
        headers = {"Idempotency-Key": idempotency_key} if idempotency_key else {}
        content = None
        if body is not None:
            headers["Content-Type"] = "application/json"
            content = body.model_dump_json(exclude_unset=True)
        return parse(self.send(lambda: self.http.post(path, content=content, headers=headers)), model)

    def send(self, request: Callable[[], httpx.Response]) -> httpx.Response:
        """Make a request until it gets an answer that is worth having.

        Raises:
            ServiceUnreachableError: no answer after all attempts.
            ProblemError: the service refused.
            UnexpectedAnswerError: a refusal that is no problem document.
        """
        for attempt in range(1, MAX_ATTEMPTS):
            try:
                response = request()
                if not is_worth_repeating(response):
                    break
            except httpx.TransportError:
                time.sleep(pause_s(attempt))
            else:
                time.sleep(pause_s(attempt, response))
        else:
            response = self._last_try(request)
        raise_for_problem(response)
        return response

    def _last_try(self, request: Callable[[], httpx.Response]) -> httpx.Response:
        try:
            return request()
        except httpx.TransportError as error:
            raise self.unreachable(error) from error

    def unreachable(self, error: httpx.TransportError) -> ServiceUnreachableError:
        """Turn a failed connection into the error that names the service and the remedy."""
        return ServiceUnreachableError(self.base_url, str(error) or type(error).__name__)


def pause_s(attempt: int, response: httpx.Response | None = None) -> float:
    """Return how long to wait after the given attempt (from 1): doubling, or as the service asks, at most 10 s."""
    asked = response.headers.get("Retry-After", "") if response is not None else ""
    wanted = float(asked) if asked.isdigit() else FIRST_PAUSE_S * 2.0 ** (attempt - 1)
    return min(wanted, LONGEST_PAUSE_S)


def is_worth_repeating(response: httpx.Response) -> bool:
    """Tell whether the same request may well succeed in a moment."""
    if response.status_code in BUSY_STATUSES:
        return True
    return response.status_code == 409 and problem_of(response).code == "idempotency-in-progress"


def raise_for_problem(response: httpx.Response) -> None:
    """Raise what the service complains about, if it does."""
    if response.status_code >= 400:
        raise ProblemError(problem_of(response))


def problem_of(response: httpx.Response) -> Problem:
    """Read a problem document; what answered without one (a proxy, say) did not speak for the service.

    Raises:
        UnexpectedAnswerError: the body is no problem document.
    """
    response.read()
    try:
        return Problem.model_validate_json(response.content, extra="ignore")
    except ValidationError as error:
        raise UnexpectedAnswerError(
            f"{response.request.method} {response.request.url} was answered with status {response.status_code} and "
            f"{response.text[:200]!r}; that is no answer of a Congeal service. Check the address."
        ) from error


def parse(response: httpx.Response, model: type[Answer]) -> Answer:
    """Read an answer as a model; fields that a newer service adds are left out.

    Raises:
        UnexpectedAnswerError: the body does not fit the model.
    """
    try:
        return model.model_validate_json(response.content, extra="ignore")
    except ValidationError as error:
        raise UnexpectedAnswerError(
            f"the answer to {response.request.method} {response.request.url} is not a {model.__name__}: {error}. "
            "Check the address, and that client and service have matching versions."
        ) from error
