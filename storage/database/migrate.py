"""Alembic without an `alembic.ini`: the migrations travel inside the package."""

from collections.abc import Callable
from pathlib import Path
from typing import Final

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, Engine, text

MIGRATIONS_DIR: Final = Path(__file__).parent / "migrations"
# Any constant; it only has to differ from other advisory locks in the same database.
ADVISORY_LOCK: Final = 0x636F6E6765616C


def alembic_config(connection: Connection) -> Config:
    """Return the configuration under which Alembic works on this connection."""
    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS_DIR).replace("%", "%%"))
    config.attributes["connection"] = connection
    return config


def upgrade(engine: Engine, revision: str = "head") -> None:
    """Migrate up to the revision."""
    _migrate(engine, lambda config: command.upgrade(config, revision))


def is_current(engine: Engine) -> bool:
    """Tell whether the schema is at the newest revision."""
    with engine.connect() as connection:
        heads = MigrationContext.configure(connection).get_current_heads()
        return set(heads) == set(ScriptDirectory.from_config(alembic_config(connection)).get_heads())


def downgrade(engine: Engine, revision: str) -> None:
    """Migrate down to the revision; `base` removes all tables."""
    _migrate(engine, lambda config: command.downgrade(config, revision))


def _migrate(engine: Engine, work: Callable[[Config], None]) -> None:
    # One transaction around all of it: on SQLite it begins immediate, so that a second process waits at its
    # door; on PostgreSQL the advisory lock does the same. The second then finds nothing left to do.
    with engine.begin() as connection:
        if connection.dialect.name == "postgresql":
            connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": ADVISORY_LOCK})
        work(alembic_config(connection))
