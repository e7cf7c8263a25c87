"""Alembic's entry: runs inside the transaction of `storage.database.migrate`."""

from alembic import context
from sqlalchemy import Connection

from storage.database.models import Base


def run_migrations(connection: Connection) -> None:
    """Run the migrations on the connection that the caller opened."""
    context.configure(
        connection=connection,
        target_metadata=Base.metadata,
        compare_type=True,
        transactional_ddl=True,
        render_as_batch=connection.dialect.name == "sqlite",
    )
    with context.begin_transaction():
        context.run_migrations()


run_migrations(context.config.attributes["connection"])
