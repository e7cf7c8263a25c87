"""First schema."""

from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

JOB_STATES = ("queued", "running", "succeeded", "failed", "canceled", "expired")
EVENT_TYPES = (
    "job.queued",
    "job.started",
    "job.stage",
    "job.progress",
    "job.log",
    "job.checkpoint",
    "job.attempt_lost",
    "job.cancel_requested",
    "job.succeeded",
    "job.failed",
    "job.canceled",
    "job.expired",
)


def upgrade() -> None:
    """Make all tables."""
    _create_images()
    _create_jobs()
    _create_job_parts()
    _create_coordination()


def downgrade() -> None:
    """Remove all tables."""
    for table in (
        *("leases", "workers", "idempotency_keys", "artifacts", "job_events"),
        *("jobs", "image_set_items", "image_sets", "images"),
    ):
        op.drop_table(table)


def _identity(name: str = "id") -> sa.Column[str]:
    return sa.Column(name, sa.String(40), nullable=False)


def _text(name: str, length: int | None = None, *, nullable: bool = False) -> sa.Column[str]:
    return sa.Column(name, sa.Text() if length is None else sa.String(length), nullable=nullable)


def _moment(name: str, *, nullable: bool = False) -> sa.Column[Any]:
    return sa.Column(name, sa.DateTime(timezone=True), nullable=nullable)


def _json(name: str, *, nullable: bool = False) -> sa.Column[Any]:
    return sa.Column(name, sa.JSON(), nullable=nullable)


def _integer(name: str, *, nullable: bool = False) -> sa.Column[int]:
    return sa.Column(name, sa.Integer(), nullable=nullable, autoincrement=False)


def _big(name: str) -> sa.Column[int]:
    return sa.Column(name, sa.BigInteger(), nullable=False)


def _primary_key(table: str, *columns: str) -> sa.PrimaryKeyConstraint:
    return sa.PrimaryKeyConstraint(*columns, name=f"pk_{table}")


def _foreign_key(table: str, column: str, target: str, *, cascade: bool = False) -> sa.ForeignKeyConstraint:
    return sa.ForeignKeyConstraint(
        [column],
        [f"{target}.id"],
        name=f"fk_{table}_{column}_{target}",
        ondelete="CASCADE" if cascade else None,
    )


def _one_of(table: str, column: str, values: tuple[str, ...]) -> sa.CheckConstraint:
    listed = ", ".join(f"'{value}'" for value in values)
    return sa.CheckConstraint(f"{column} IN ({listed})", name=op.f(f"ck_{table}_{column}"))


def _create_images() -> None:
    op.create_table(
        "images",
        _identity(),
        _text("name"),
        _integer("width"),
        _integer("height"),
        _text("media_type", 64),
        _big("bytes"),
        _text("sha256", 64),
        _text("upload_sha256", 64),
        _text("blob_key", 512),
        _moment("created_at"),
        _primary_key("images", "id"),
        sa.UniqueConstraint("upload_sha256", name="uq_images_upload_sha256"),
        sa.CheckConstraint("width > 0 AND height > 0 AND bytes > 0", name=op.f("ck_images_size")),
    )
    op.create_index("ix_images_sha256", "images", ["sha256"])
    op.create_table(
        "image_sets",
        _identity(),
        _text("name", nullable=True),
        _moment("created_at"),
        _primary_key("image_sets", "id"),
    )
    op.create_index("ix_image_sets_created_at_id", "image_sets", ["created_at", "id"])
    op.create_table(
        "image_set_items",
        _identity("image_set_id"),
        _integer("position"),
        _identity("image_id"),
        _primary_key("image_set_items", "image_set_id", "position"),
        _foreign_key("image_set_items", "image_set_id", "image_sets", cascade=True),
        _foreign_key("image_set_items", "image_id", "images"),
    )
    op.create_index("ix_image_set_items_image_id", "image_set_items", ["image_id"])


def _create_jobs() -> None:
    op.create_table(
        "jobs",
        _identity(),
        *_submitted_columns(),
        *_running_columns(),
        _primary_key("jobs", "id"),
        _foreign_key("jobs", "image_set_id", "image_sets"),
        _one_of("jobs", "state", JOB_STATES),
        sa.CheckConstraint(
            "state <> 'running' OR (lease_until IS NOT NULL AND worker IS NOT NULL)", name=op.f("ck_jobs_lease")
        ),
        sa.CheckConstraint("(finished_at IS NULL) = (state IN ('queued', 'running'))", name=op.f("ck_jobs_finished")),
        sa.CheckConstraint("state <> 'succeeded' OR manifest_key IS NOT NULL", name=op.f("ck_jobs_manifest")),
        sa.CheckConstraint("state <> 'failed' OR error IS NOT NULL", name=op.f("ck_jobs_error")),
    )
    op.create_index("ix_jobs_claim", "jobs", ["state", "lane", "priority", "created_at", "id"])
    op.create_index("ix_jobs_lease", "jobs", ["state", "lease_until"])
    op.create_index("ix_jobs_created_at_id", "jobs", ["created_at", "id"])
    op.create_index("ix_jobs_image_set_id_created_at", "jobs", ["image_set_id", "created_at"])


def _submitted_columns() -> list[sa.Column[Any]]:
    return [
        _text("method", 64),
        _text("method_version", 64),
        _text("lane", 64),
        _identity("image_set_id"),
        _json("params"),
        _big("seed"),
        sa.Column("priority", sa.SmallInteger(), nullable=False),
        _text("name", nullable=True),
        _json("labels"),
        _integer("max_attempts"),
        _moment("deadline_at"),
        _moment("created_at"),
    ]


def _running_columns() -> list[sa.Column[Any]]:
    return [
        _text("state", 32),
        _text("stage", nullable=True),
        sa.Column("progress_fraction", sa.Double(), nullable=True),
        _integer("progress_step", nullable=True),
        _integer("progress_total", nullable=True),
        _json("progress_metrics"),
        _integer("attempt"),
        _integer("fence"),
        _moment("lease_until", nullable=True),
        _text("worker", nullable=True),
        _moment("started_at", nullable=True),
        _moment("heartbeat_at", nullable=True),
        _moment("finished_at", nullable=True),
        _moment("cancel_requested_at", nullable=True),
        _moment("woken_at", nullable=True),
        _text("checkpoint_key", 512, nullable=True),
        _text("manifest_key", 512, nullable=True),
        _json("error", nullable=True),
        _json("metrics"),
        _json("self_check", nullable=True),
        _integer("revision"),
        _integer("last_seq"),
    ]


def _create_job_parts() -> None:
    op.create_table(
        "job_events",
        _identity("job_id"),
        _integer("seq"),
        _moment("at"),
        _text("type", 32),
        _json("data"),
        _primary_key("job_events", "job_id", "seq"),
        _foreign_key("job_events", "job_id", "jobs", cascade=True),
        _one_of("job_events", "type", EVENT_TYPES),
    )
    op.create_table(
        "artifacts",
        _identity("job_id"),
        _text("name", 120),
        _integer("position"),
        _text("kind", 32),
        _text("media_type", 128),
        _big("bytes"),
        _text("sha256", 64),
        _json("images"),
        _json("tensors"),
        _primary_key("artifacts", "job_id", "name"),
        _foreign_key("artifacts", "job_id", "jobs", cascade=True),
    )


def _create_coordination() -> None:
    op.create_table(
        "idempotency_keys",
        _text("key", 512),
        _text("fingerprint", 128),
        _moment("created_at"),
        sa.Column("status", sa.SmallInteger(), nullable=True),
        _json("body", nullable=True),
        _text("location", nullable=True),
        _primary_key("idempotency_keys", "key"),
    )
    op.create_index("ix_idempotency_keys_created_at", "idempotency_keys", ["created_at"])
    op.create_table(
        "workers",
        _text("id", 200),
        _json("lanes"),
        _text("device"),
        _json("backbones"),
        _moment("started_at"),
        _moment("seen_at"),
        _primary_key("workers", "id"),
    )
    op.create_table("leases", _text("name", 64), _text("holder"), _moment("expires_at"), _primary_key("leases", "name"))
