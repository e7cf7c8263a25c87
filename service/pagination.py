"""Cursors: opaque tokens that say where a list goes on."""

import base64
import binascii
import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Annotated, Protocol, TypeVar

from fastapi import Query, Request, Response

from api_schemas.pagination import Page
from service.problems import INVALID_CURSOR, ProblemError

DEFAULT_LIMIT = 50
MAX_LIMIT = 200

Position = tuple[datetime, str]
LimitQuery = Annotated[int, Query(ge=1, le=MAX_LIMIT, description="Items on a page.")]
CursorQuery = Annotated[
    str | None, Query(max_length=500, description="`next_cursor` of the page before; the filters must be the same.")
]


class Listed(Protocol):
    """A record that can stand in a list, newest first."""

    @property
    def id(self) -> str:
        """Breaks ties of time."""
        ...

    @property
    def created_at(self) -> datetime:
        """Orders the list."""
        ...


Record = TypeVar("Record", bound=Listed)
Item = TypeVar("Item")


@dataclass(frozen=True)
class PageRequest:
    """Which page of which list."""

    limit: int
    cursor: str | None
    filters: Mapping[str, str | None]

    @property
    def before(self) -> Position | None:
        """The last item of the page before.

        Raises:
            ProblemError: the cursor is damaged, or belongs to a list with other filters.
        """
        return None if self.cursor is None else _read(self.cursor, self.filters)


def cut_page(records: Sequence[Record], page: PageRequest, show: Callable[[Record], Item]) -> Page[Item]:
    """Make a page of up to `limit` items; `records` holds one more when there are further pages."""
    shown = records[: page.limit]
    has_more = len(records) > page.limit
    cursor = _write((shown[-1].created_at, shown[-1].id), page.filters) if has_more else None
    return Page(items=[show(record) for record in shown], next_cursor=cursor, has_more=has_more)


def link_next(request: Request, response: Response, cursor: str | None) -> None:
    """Tell where the next page is in a Link header (RFC 8288)."""
    if cursor is not None:
        url = request.url.include_query_params(cursor=cursor)
        response.headers["Link"] = f'<{url.path}?{url.query}>; rel="next"'


def _write(position: Position, filters: Mapping[str, str | None]) -> str:
    token = json.dumps([position[0].isoformat(), position[1], _digest(filters)])
    return base64.urlsafe_b64encode(token.encode()).decode().rstrip("=")


def _read(cursor: str, filters: Mapping[str, str | None]) -> Position:
    try:
        moment, identity, digest = json.loads(base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)))
        position = datetime.fromisoformat(moment), str(identity)
    except (binascii.Error, ValueError, TypeError) as error:
        raise ProblemError(INVALID_CURSOR, "the cursor is damaged; begin again without it") from error
    if digest != _digest(filters):
        raise ProblemError(INVALID_CURSOR, "the cursor belongs to a list with other filters; begin again without it")
    if position[0].tzinfo is None or "\x00" in position[1]:
        raise ProblemError(INVALID_CURSOR, "the cursor is damaged; begin again without it")
    return position


def _digest(filters: Mapping[str, str | None]) -> str:
    return hashlib.sha256(json.dumps(dict(filters), sort_keys=True).encode()).hexdigest()[:16]
