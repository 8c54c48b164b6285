"""Usage per project, key and model; limits of projects and keys.

The column has no default, so adding it changes the catalogue alone, whatever the size of the table.
"""

import sqlalchemy as sa
from alembic import op

revision = "0021"
down_revision = "0020"
branch_labels = None
depends_on = None

NOW = sa.text("clock_timestamp()")
ZERO = sa.text("0")


def upgrade() -> None:
    usd_comment = "estimated price at a provider; null: local, or version 0.1 wrote it"
    op.add_column("jobs", sa.Column("provider_usd", sa.Double(), comment=usd_comment))
    op.create_table(
        "usage_entries",
        sa.Column("seq", sa.BigInteger(), sa.Identity(always=True), primary_key=True),
        sa.Column(
            "created_at", sa.DateTime(timezone=True), nullable=False, server_default=NOW, comment="when the job ended"
        ),
        sa.Column("project_id", sa.Text(), nullable=False),
        sa.Column("api_key_id", sa.Text(), nullable=False, comment="empty: no key was needed"),
        sa.Column("model", sa.Text(), nullable=False),
        sa.Column("operation", sa.Text(), nullable=False),
        sa.Column("size", sa.Text(), nullable=False),
        sa.Column("images", sa.Integer(), nullable=False),
        sa.Column("bytes", sa.BigInteger(), nullable=False, comment="of the images"),
        sa.Column("device_seconds", sa.Double(), nullable=False),
        sa.Column("cost_usd", sa.Numeric(12, 6), nullable=False, comment="what a provider charged"),
    )
    op.create_table(
        "usage_buckets",
        sa.Column("project_id", sa.Text(), primary_key=True),
        sa.Column(
            "started_at", sa.DateTime(timezone=True), primary_key=True, comment="the beginning of the minute or hour"
        ),
        sa.Column("seconds", sa.SmallInteger(), primary_key=True, comment="60 or 3600", autoincrement=False),
        sa.Column("api_key_id", sa.Text(), primary_key=True),
        sa.Column("model", sa.Text(), primary_key=True),
        sa.Column("operation", sa.Text(), primary_key=True),
        sa.Column("size", sa.Text(), primary_key=True),
        sa.Column("jobs", sa.BigInteger(), nullable=False, comment="that ended after they had started"),
        sa.Column("images", sa.BigInteger(), nullable=False),
        sa.Column("bytes", sa.BigInteger(), nullable=False),
        sa.Column("device_seconds", sa.Double(), nullable=False),
        sa.Column("cost_usd", sa.Numeric(16, 6), nullable=False),
    )
    op.create_index("ix_usage_buckets_time", "usage_buckets", ["started_at"])
    op.create_table(
        "limits",
        sa.Column("subject_id", sa.Text(), primary_key=True, comment="a project or an API key"),
        sa.Column("requests_per_minute", sa.Integer()),
        sa.Column("jobs", sa.Integer(), comment="queued and running at once"),
        sa.Column("stored_bytes", sa.BigInteger()),
        sa.Column("device_seconds_per_day", sa.Double()),
        sa.Column("provider_usd_per_month", sa.Double()),
    )
    op.create_table(
        "limit_use",
        sa.Column("subject_id", sa.Text(), primary_key=True),
        sa.Column("project_id", sa.Text(), nullable=False),
        sa.Column("day", sa.Date(), nullable=False, comment="UTC; what is used belongs to this day and its month"),
        sa.Column(
            "jobs", sa.Integer(), nullable=False, server_default=ZERO, comment="at most these are queued or running"
        ),
        sa.Column("stored_bytes", sa.BigInteger(), nullable=False, server_default=ZERO),
        sa.Column(
            "device_seconds", sa.Double(), nullable=False, server_default=ZERO, comment="used and reserved today"
        ),
        sa.Column(
            "provider_usd", sa.Double(), nullable=False, server_default=ZERO, comment="used and reserved this month"
        ),
        sa.Column(
            "counted_at",
            sa.DateTime(timezone=True),
            nullable=False,
            server_default=NOW,
            comment="when it was last counted from the rows",
        ),
        postgresql_with={"fillfactor": "50"},
    )
