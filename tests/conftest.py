"""Fixtures for all tests: real brokers and databases, each empty at the start of a test."""

import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from storage.database.models import Base
from storage.database.session import Database, migrate
from tests.servers import PostgresServer, RedisServer

# One thread here and in every process that the tests start: tiny tensors gain nothing from more, and lose much.
os.environ.setdefault("OMP_NUM_THREADS", "1")


@pytest.fixture(scope="session")
def redis_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    """Run a Redis server for the whole session."""
    server = RedisServer(tmp_path_factory.mktemp("redis"))
    server.start()
    yield server
    server.kill()


@pytest.fixture
def redis_url(redis_server: RedisServer) -> str:
    """Give the URL of an empty Redis."""
    redis_server.clear()
    return redis_server.url


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[PostgresServer]:
    """Run a PostgreSQL server for the whole session."""
    # Not in pytest's folder: that one is private, and as root the server runs under another user.
    folder = Path(tempfile.mkdtemp(prefix="congeal-postgres-"))
    server = PostgresServer(folder / "data")
    yield server
    server.stop()
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="session")
def postgres_migrated(postgres_server: PostgresServer) -> str:
    """Give the URL of a migrated PostgreSQL database, which tests use in turn."""
    url = postgres_server.create_database()
    migrate(url)
    return url


@pytest.fixture
def postgres_url(postgres_server: PostgresServer) -> Iterator[str]:
    """Give the URL of an empty PostgreSQL database of the test's own."""
    url = postgres_server.create_database()
    yield url
    postgres_server.drop_database(url)


@pytest.fixture(scope="session")
def sqlite_template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Give a migrated SQLite file to copy."""
    file = tmp_path_factory.mktemp("template") / "congeal.db"
    migrate(f"sqlite:///{file}")
    return file


@pytest.fixture(params=["sqlite", "postgresql"])
def empty_database_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """Give the URL of an empty database; the test runs once an engine."""
    if request.param == "postgresql":
        return str(request.getfixturevalue("postgres_url"))
    return f"sqlite:///{tmp_path / 'congeal.db'}"


@pytest.fixture(params=["sqlite", "postgresql"])
def database_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """Give the URL of a migrated database without rows; the test runs once an engine."""
    if request.param == "postgresql":
        url: str = request.getfixturevalue("postgres_migrated")
        request.getfixturevalue("postgres_server").clear(url, Base.metadata.sorted_tables)
        return url
    shutil.copy(request.getfixturevalue("sqlite_template"), tmp_path / "congeal.db")
    return f"sqlite:///{tmp_path / 'congeal.db'}"


@pytest.fixture
def database(database_url: str) -> Iterator[Database]:
    """Give a migrated database without rows; the test runs once an engine."""
    opened = Database(database_url)
    yield opened
    opened.dispose()
