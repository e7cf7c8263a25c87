"""Cursor pagination, the same for every list."""

from typing import Generic, TypeVar

from pydantic import Field

from api_schemas.base import Schema

Item = TypeVar("Item")


class Page(Schema, Generic[Item]):
    """One page of a list, newest first; `next_cursor` is null on the last page."""

    items: list[Item]
    next_cursor: str | None = Field(description="Give it as `?cursor=` to get the next page.")
    has_more: bool
