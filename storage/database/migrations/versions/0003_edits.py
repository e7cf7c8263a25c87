"""Edits of results."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Make the table."""
    op.create_table(
        "edits",
        sa.Column("id", sa.String(40), nullable=False),
        sa.Column("job_id", sa.String(40), nullable=False),
        sa.Column("fingerprint", sa.String(64), nullable=False),
        sa.Column("layer_sha256", sa.String(64), nullable=False),
        sa.Column("spec", sa.JSON(), nullable=False),
        sa.Column("results", sa.JSON(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_edits"),
        sa.ForeignKeyConstraint(["job_id"], ["jobs.id"], name="fk_edits_job_id_jobs", ondelete="CASCADE"),
        sa.UniqueConstraint("job_id", "fingerprint", name="uq_edits_job_id_fingerprint"),
    )
    op.create_index("ix_edits_job_id_created_at_id", "edits", ["job_id", "created_at", "id"])


def downgrade() -> None:
    """Remove the table."""
    op.drop_table("edits")
