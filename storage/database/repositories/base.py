"""What the repositories share."""

from collections.abc import Callable
from dataclasses import fields
from datetime import datetime
from typing import Any, TypeVar

from sqlalchemy import ColumnElement, literal, tuple_
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.orm import InstrumentedAttribute, Session

from storage.database.models import Base, UtcDateTime
from storage.database.records import utc_now

__all__ = ["Clock", "before_cursor", "insert_for", "record_of", "utc_now"]

Clock = Callable[[], datetime]
Record = TypeVar("Record")


def record_of(kind: type[Record], row: Base, **changed: Any) -> Record:
    """Copy a row into a record with fields of the same names."""
    names = [field.name for field in fields(kind)]  # type: ignore[arg-type]
    return kind(**{name: changed[name] if name in changed else getattr(row, name) for name in names})


def insert_for(session: Session, table: type[Base]) -> sqlite.Insert | postgresql.Insert:
    """Return an INSERT that knows ON CONFLICT, for the session's engine."""
    if session.get_bind().dialect.name == "postgresql":
        return postgresql.insert(table)
    return sqlite.insert(table)


def before_cursor(
    created_at: InstrumentedAttribute[datetime], row_id: InstrumentedAttribute[str], cursor: tuple[datetime, str]
) -> ColumnElement[bool]:
    """Return the condition that a row comes after the cursor in a list that begins with the newest."""
    moment, identity = cursor
    return tuple_(created_at, row_id) < tuple_(literal(moment, UtcDateTime()), literal(identity))
