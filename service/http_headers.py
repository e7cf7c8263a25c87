"""Read the request headers that carry conditions and preferences."""

import re

from starlette.datastructures import Headers

WAIT = re.compile(r"(?:^|,)\s*wait\s*=\s*\"?(\d{1,9})\"?\s*(?=$|[,;])", re.IGNORECASE)
ENTITY_TAG = re.compile(r'(?:W/)?("[^"]*")')


def content_etag(sha256: str) -> str:
    """Return the strong ETag of bytes with this digest."""
    return f'"sha256-{sha256}"'


def matches_etag(headers: Headers, etag: str) -> bool:
    """Tell whether If-None-Match names the tag (weak comparison, RFC 9110 section 13.1.2)."""
    condition = headers.get("if-none-match")
    if condition is None:
        return False
    return condition.strip() == "*" or etag.removeprefix("W/") in ENTITY_TAG.findall(condition)


def preferred_wait_s(headers: Headers, limit_s: int) -> int | None:
    """Return the seconds that `Prefer: wait=N` (RFC 7240) asks to wait, at most `limit_s`; None when it does not."""
    found = WAIT.search(", ".join(headers.getlist("prefer")))
    return min(int(found[1]), limit_s) if found else None
