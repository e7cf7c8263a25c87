"""Masks of a job's images, and the job that a job extends."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add both columns."""
    op.add_column("jobs", sa.Column("masks", sa.JSON(), nullable=True))
    # Written out, since SQLite takes a reference with its column only. To build the table anew, as Alembic would there,
    # is no way: dropping the old one would delete the events and artifacts that refer to it.
    op.execute("ALTER TABLE jobs ADD COLUMN extends VARCHAR(40) CONSTRAINT fk_jobs_extends_jobs REFERENCES jobs (id)")


def downgrade() -> None:
    """Remove both columns."""
    op.drop_column("jobs", "extends")
    op.drop_column("jobs", "masks")
