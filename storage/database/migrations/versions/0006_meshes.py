"""Uploaded meshes, and which of them a job works with."""

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Make the table and add the column."""
    op.create_table(
        "meshes",
        sa.Column("id", sa.String(40), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("vertices", sa.Integer(), nullable=False),
        sa.Column("faces", sa.Integer(), nullable=False),
        sa.Column("uploaded_faces", sa.Integer(), nullable=False),
        sa.Column("colours", sa.String(16), nullable=False),
        sa.Column("is_watertight", sa.Boolean(), nullable=False),
        sa.Column("bounds", sa.JSON(), nullable=False),
        sa.Column("warnings", sa.JSON(), nullable=False),
        sa.Column("bytes", sa.BigInteger(), nullable=False),
        sa.Column("sha256", sa.String(64), nullable=False),
        sa.Column("fingerprint", sa.String(64), nullable=False),
        sa.Column("blob_key", sa.String(512), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_meshes"),
        sa.UniqueConstraint("fingerprint", name="uq_meshes_fingerprint"),
        sa.CheckConstraint("vertices > 0 AND faces > 0 AND bytes > 0", name=op.f("ck_meshes_size")),
    )
    op.create_index("ix_meshes_created_at_id", "meshes", ["created_at", "id"])
    op.add_column("jobs", sa.Column("meshes", sa.JSON(), nullable=True))


def downgrade() -> None:
    """Remove both."""
    op.drop_column("jobs", "meshes")
    op.drop_table("meshes")
