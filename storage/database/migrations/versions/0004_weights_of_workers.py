"""Weights that a worker has at hand."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the column."""
    # The default is for workers of an earlier version, which register without it.
    op.add_column("workers", sa.Column("weights", sa.JSON(), nullable=False, server_default=sa.text("'[]'")))


def downgrade() -> None:
    """Remove the column."""
    op.drop_column("workers", "weights")
