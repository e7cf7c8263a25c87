"""Idempotency-Key: a creation that is sent again answers with what it made the first time."""

import hashlib
import json
from dataclasses import dataclass
from typing import Annotated

from fastapi import Header, Response
from fastapi.responses import JSONResponse
from pydantic import JsonValue
from sqlalchemy.orm import Session

from service.problems import IDEMPOTENCY_IN_PROGRESS, IDEMPOTENCY_KEY_REUSED, ProblemError
from storage.database.repositories.coordination import IdempotencyRepository

IN_PROGRESS_RETRY_S = 1.0

IdempotencyKeyHeader = Annotated[
    str | None,
    Header(
        alias="Idempotency-Key",
        min_length=1,
        max_length=200,
        pattern=r"^[\x21-\x7e]+$",
        description="Send the same key to repeat a creation safely; kept for 24 hours.",
    ),
]


@dataclass(frozen=True)
class Replay:
    """The answer to the first request with the key."""

    status: int
    body: JsonValue
    location: str | None


@dataclass(frozen=True)
class IdempotentRequest:
    """A creation that may be repeated."""

    key: str
    """With its scope."""
    fingerprint: str

    @classmethod
    def of(cls, key: str | None, scope: str, request: JsonValue) -> "IdempotentRequest | None":
        """Describe a request by its key and by what it asks for; None without a key."""
        if key is None:
            return None
        canonical = json.dumps(request, sort_keys=True, separators=(",", ":"))
        return cls(f"{scope} {key}", hashlib.sha256(canonical.encode()).hexdigest())

    def reserve(self, session: Session) -> Replay | None:
        """Take the key within the transaction of the creation, or return the answer that it already has.

        Raises:
            ProblemError: the key was used for another request, or the first request is still at work.
        """
        existing = IdempotencyRepository(session).reserve(self.key, self.fingerprint)
        if existing is None:
            return None
        name = self.key.split(" ")[-1]
        if existing.fingerprint != self.fingerprint:
            detail = f"the key {name!r} was used for another request in the last 24 hours; take a fresh one"
            raise ProblemError(IDEMPOTENCY_KEY_REUSED, detail)
        if existing.status is None:
            detail = f"the first request with the key {name!r} has not been answered yet; repeat in a moment"
            raise ProblemError(IDEMPOTENCY_IN_PROGRESS, detail, retry_after_s=IN_PROGRESS_RETRY_S)
        return Replay(existing.status, existing.body, existing.location)

    def complete(self, session: Session, replay: Replay) -> None:
        """Keep the answer for repetitions."""
        IdempotencyRepository(session).complete(self.key, replay.status, replay.body, replay.location)


def replayed(replay: Replay) -> Response:
    """Give the first answer again."""
    headers = {"Idempotency-Replayed": "true"}
    if replay.location:
        headers["Location"] = replay.location
    return JSONResponse(replay.body, replay.status, headers)
