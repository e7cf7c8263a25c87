"""The migrations make what the models say, both ways, and once whoever comes first."""

import multiprocessing
from typing import Any

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import Engine, inspect

from storage.database.migrate import downgrade, upgrade
from storage.database.models import Base
from storage.database.session import Database, make_engine, migrate

PROCESSES = 2


@pytest.fixture
def engine(empty_database_url: str) -> Any:
    opened = make_engine(empty_database_url)
    yield opened
    opened.dispose()


def constraints_of(engine: Engine) -> dict[str, Any]:
    """Describe what `compare_metadata` does not look at: CHECKs, primary keys, and names of constraints."""
    inspector = inspect(engine)
    tables = sorted(set(inspector.get_table_names()) - {"alembic_version"})
    return {
        table: {
            "checks": sorted((check["name"], check["sqltext"]) for check in inspector.get_check_constraints(table)),
            "primary_key": inspector.get_pk_constraint(table),
            "foreign_keys": foreign_keys_of(engine, table),
            "unique": inspector.get_unique_constraints(table),
            "indices": sorted(inspector.get_indexes(table), key=lambda index: str(index["name"])),
            "columns": [
                (column["name"], str(column["type"]), column["nullable"]) for column in inspector.get_columns(table)
            ],
        }
        for table in tables
    }


def foreign_keys_of(engine: Engine, table: str) -> list[dict[str, Any]]:
    """Describe references; SQLite does not tell the name of one that came with a column of its own."""
    keys = [dict(key) for key in inspect(engine).get_foreign_keys(table)]
    if engine.dialect.name == "sqlite":
        keys = [key | {"name": None} for key in keys]
    return sorted(keys, key=lambda key: key["constrained_columns"])


def test_migrations_and_models_agree(engine: Engine) -> None:
    upgrade(engine)
    with engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        assert compare_metadata(context, Base.metadata) == []
    migrated = constraints_of(engine)
    downgrade(engine, "base")
    Base.metadata.create_all(engine)
    assert migrated == constraints_of(engine)
    assert migrated["jobs"]["checks"], "the engine shows no CHECK at all, so the comparison is void"


def test_up_down_and_up_again(engine: Engine) -> None:
    upgrade(engine)
    first = constraints_of(engine)
    downgrade(engine, "base")
    assert inspect(engine).get_table_names() == ["alembic_version"]
    upgrade(engine)
    assert constraints_of(engine) == first


def test_migrating_twice_changes_nothing(engine: Engine) -> None:
    migrate(engine)
    first = constraints_of(engine)
    migrate(engine)
    assert constraints_of(engine) == first


def migrate_at_the_signal(url: str, signal: Any, failures: Any) -> None:
    signal.wait()
    try:
        migrate(url)
    except Exception as error:
        failures.put(repr(error))


def test_processes_that_start_together_migrate_once(empty_database_url: str) -> None:
    spawn = multiprocessing.get_context("spawn")
    signal, failures = spawn.Barrier(PROCESSES), spawn.Queue()
    processes = [
        spawn.Process(target=migrate_at_the_signal, args=(empty_database_url, signal, failures))
        for _ in range(PROCESSES)
    ]
    for process in processes:
        process.start()
    for process in processes:
        process.join(timeout=60)
        assert process.exitcode == 0
    assert failures.empty(), failures.get()
    database = Database(empty_database_url)
    assert {"jobs", "job_events", "alembic_version"} <= set(inspect(database.engine).get_table_names())
    database.dispose()
