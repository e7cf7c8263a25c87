"""What is known of a job's images, and the jobs whose results it works with."""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add both columns."""
    op.add_column("jobs", sa.Column("uses", sa.JSON(), nullable=True))
    op.add_column("jobs", sa.Column("annotations", sa.JSON(), nullable=True))


def downgrade() -> None:
    """Remove both columns."""
    op.drop_column("jobs", "annotations")
    op.drop_column("jobs", "uses")
