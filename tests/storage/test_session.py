"""What happens when the database is full, away, locked or misused."""

import sqlite3
import threading
from pathlib import Path

import pytest
from sqlalchemy import insert, text
from sqlalchemy.exc import DBAPIError, StatementError

from storage.database import session as session_module
from storage.database.models import WorkerRow
from storage.database.session import Database, make_engine
from storage.errors import StorageFullError, StorageUnavailableError
from tests.servers import free_port
from tests.storage.builders import NOON


def test_the_database_answers(database: Database) -> None:
    database.ping()


def test_sqlite_connections_are_set_up(tmp_path: Path) -> None:
    engine = make_engine(f"sqlite:///{tmp_path / 'made' / 'on' / 'demand.db'}")
    with engine.connect() as connection:
        pragmas = ("journal_mode", "synchronous", "busy_timeout", "foreign_keys")
        found = [connection.exec_driver_sql(f"PRAGMA {pragma}").scalar() for pragma in pragmas]
    engine.dispose()
    assert found == ["wal", 1, 30_000, 1]


def test_a_database_in_memory_is_refused() -> None:
    with pytest.raises(ValueError, match="give a file"):
        make_engine("sqlite://")


def test_read_only_transactions_cannot_write(database: Database) -> None:
    with pytest.raises(DBAPIError, match=r"(?i)read.?only"), database.transaction(read_only=True) as session:
        session.execute(text("DELETE FROM jobs"))
    with database.transaction() as session:
        session.execute(text("DELETE FROM jobs"))


def test_what_is_no_json_is_refused_by_both_engines(database: Database) -> None:
    values = {"id": "w", "lanes": [float("nan")], "device": "cpu", "backbones": [], "started_at": NOON, "seen_at": NOON}
    with pytest.raises((StatementError, ValueError), match="JSON compliant"), database.transaction() as session:
        session.execute(insert(WorkerRow).values(values))


def test_a_server_that_is_away_is_unavailable() -> None:
    database = Database(f"postgresql://postgres@127.0.0.1:{free_port()}/congeal")
    with pytest.raises(StorageUnavailableError, match="try again"):
        database.ping()
    database.dispose()


def test_a_locked_database_is_unavailable(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(session_module, "BUSY_TIMEOUT_MS", 50)
    database = Database(f"sqlite:///{tmp_path / 'congeal.db'}")
    database.migrate()
    blocker = sqlite3.connect(tmp_path / "congeal.db", isolation_level=None)
    blocker.execute("BEGIN IMMEDIATE")
    with pytest.raises(StorageUnavailableError, match="locked"), database.transaction() as session:
        session.execute(text("DELETE FROM jobs"))
    database.ping()
    blocker.close()
    database.dispose()


def test_a_full_disk_is_told_and_leaves_the_database_whole(tiny_disk: Path) -> None:
    database = Database(f"sqlite:///{tiny_disk / 'congeal.db'}")
    database.migrate()
    with database.transaction() as session:
        session.execute(text("CREATE TABLE ballast (bytes BLOB)"))

    def fill() -> None:
        for _ in range(100):
            with database.transaction() as session:
                session.execute(text("INSERT INTO ballast VALUES (randomblob(65536))"))

    with pytest.raises(StorageFullError, match="free some space"):
        fill()
    with database.transaction(read_only=True) as session:
        assert session.execute(text("PRAGMA integrity_check")).scalar() == "ok"
    database.dispose()


def test_a_new_sqlite_file_can_be_opened_by_many_at_once(tmp_path: Path) -> None:
    failures: list[Exception] = []

    def open_it(url: str, barrier: threading.Barrier) -> None:
        engine = make_engine(url)
        barrier.wait()
        try:
            engine.connect().close()
        except Exception as error:
            failures.append(error)
        engine.dispose()

    for number in range(60):
        arguments = (f"sqlite:///{tmp_path / str(number)}.db", threading.Barrier(6))
        threads = [threading.Thread(target=open_it, args=arguments) for _ in range(6)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert failures == []
