"""Engines and transactions."""

import json
import sqlite3
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Final

from sqlalchemy import Connection, Engine, create_engine, event, text
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import DBAPIError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError
from sqlalchemy.orm import Session, sessionmaker

from storage.database.migrate import is_current, upgrade
from storage.errors import StorageError, StorageFullError, StorageUnavailableError

BUSY_TIMEOUT_MS: Final = 30_000
CONNECT_TIMEOUT_S: Final = 5
POOL_SIZE: Final = 10
POOL_OVERFLOW: Final = 30
READ_ONLY: Final = "congeal_read_only"
DISK_FULL: Final = ("SQLITE_FULL", "53100")
# SQLite's names; PostgreSQL's classes "connection exception", "operator intervention" and "too many connections".
UNAVAILABLE: Final = ("SQLITE_BUSY", "SQLITE_LOCKED", "SQLITE_CANTOPEN", "SQLITE_IOERR", "08", "57P", "53300")

# NaN is no JSON: SQLite would keep it and PostgreSQL refuse it, so both refuse it here.
_to_json = partial(json.dumps, allow_nan=False, separators=(",", ":"))


def make_engine(url: str) -> Engine:
    """Return an engine for a `sqlite:///<path>` or `postgresql://` URL."""
    parsed = make_url(url)
    if parsed.get_backend_name() == "sqlite":
        return _sqlite_engine(parsed)
    return _postgresql_engine(parsed.set(drivername="postgresql+psycopg"))


def _sqlite_engine(url: URL) -> Engine:
    if not url.database or url.database == ":memory:":
        raise ValueError(f"{url} is in memory; give a file, which API and workers can share")
    Path(url.database).parent.mkdir(parents=True, exist_ok=True)
    engine = create_engine(
        url,
        pool_size=POOL_SIZE,
        max_overflow=POOL_OVERFLOW,
        json_serializer=_to_json,
        connect_args={"timeout": BUSY_TIMEOUT_MS / 1000},
    )
    event.listen(engine, "connect", _configure_sqlite)
    event.listen(engine, "begin", _begin_sqlite)
    return engine


def _postgresql_engine(url: URL) -> Engine:
    return create_engine(
        url,
        pool_size=POOL_SIZE,
        max_overflow=POOL_OVERFLOW,
        json_serializer=_to_json,
        pool_pre_ping=True,
        connect_args={"connect_timeout": CONNECT_TIMEOUT_S},
    )


def _configure_sqlite(connection: sqlite3.Connection, record: object) -> None:
    del record
    # The driver would begin transactions late and deferred; `_begin_sqlite` begins them instead.
    connection.isolation_level = None
    cursor = connection.cursor()
    for pragma in (f"busy_timeout={BUSY_TIMEOUT_MS}", "synchronous=NORMAL", "foreign_keys=ON"):
        cursor.execute(f"PRAGMA {pragma}")
    _use_write_ahead_log(cursor)
    cursor.close()


def _use_write_ahead_log(cursor: sqlite3.Cursor) -> None:
    # The change, made once in a file's life, needs the file alone and does not heed the busy timeout: of processes that
    # open a new database together, all but one would fail.
    deadline = time.monotonic() + BUSY_TIMEOUT_MS / 1000
    while True:
        try:
            cursor.execute("PRAGMA journal_mode=WAL")
            return
        except sqlite3.OperationalError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.01)


def _begin_sqlite(connection: Connection) -> None:
    # A deferred transaction that turns into a writer fails at once when another has written in between,
    # whatever the busy timeout; an immediate one waits its turn.
    read_only = bool(connection.get_execution_options().get(READ_ONLY))
    connection.exec_driver_sql(f"PRAGMA query_only={int(read_only)}")
    connection.exec_driver_sql("BEGIN DEFERRED" if read_only else "BEGIN IMMEDIATE")


def _translated(error: DBAPIError) -> StorageError | None:
    """Return the storage error that a driver's error means, or None when it is a fault of ours."""
    original = error.orig
    code = getattr(original, "sqlite_errorname", None) or getattr(original, "sqlstate", None)
    if code in DISK_FULL:
        return StorageFullError(f"the database's disk is full ({original}); free some space and try again")
    # A connection that PostgreSQL's driver could not make has no code.
    unreachable = code is None and isinstance(error, OperationalError)
    if unreachable or error.connection_invalidated or (code or "").startswith(UNAVAILABLE):
        return StorageUnavailableError(f"the database does not answer ({original}); try again")
    return None


class Database:
    """One database: its engine and its transactions.

    Args:
        url: `sqlite:///<path>` or `postgresql://<user>@<host>/<name>`.
    """

    def __init__(self, url: str) -> None:
        self.engine = make_engine(url)
        self._reader = self.engine.execution_options(**{READ_ONLY: True, "postgresql_readonly": True})
        self._writing = sessionmaker(self.engine, expire_on_commit=False)
        self._reading = sessionmaker(self._reader, expire_on_commit=False)

    @contextmanager
    def transaction(self, *, read_only: bool = False) -> Iterator[Session]:
        """Commit at the end of the block, roll back on an error.

        On SQLite one writing transaction runs at a time, so keep them short; read-only ones never wait.

        Raises:
            StorageFullError: the database's disk is full.
            StorageUnavailableError: the database cannot be reached, or stayed locked for 30 s.
        """
        maker = self._reading if read_only else self._writing
        try:
            with maker.begin() as session:
                yield session
        except DBAPIError as error:
            translated = _translated(error)
            if translated is None:
                raise
            raise translated from error
        except PoolTimeoutError as error:
            raise StorageUnavailableError(f"all connections to the database are in use ({error}); try again") from error

    def migrate(self) -> None:
        """Bring the schema up to date; safe when several processes do it at once."""
        migrate(self.engine)

    def is_migrated(self) -> bool:
        """Tell whether the schema is up to date."""
        return is_current(self._reader)

    def ping(self) -> None:
        """Return when the database answers.

        Raises:
            StorageUnavailableError: it does not.
        """
        with self.transaction(read_only=True) as session:
            session.execute(text("SELECT 1"))

    def dispose(self) -> None:
        """Close all connections."""
        self.engine.dispose()


def migrate(target: Engine | str) -> None:
    """Bring the schema of the database up to date; safe when several processes do it at once."""
    if isinstance(target, str):
        engine = make_engine(target)
        try:
            upgrade(engine)
        finally:
            engine.dispose()
    else:
        upgrade(target)
