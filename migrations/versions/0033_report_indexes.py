"""Operators see failures by code, jobs that crashed workers, and dead deliveries.

Revision ID: 0033
Revises: 0032

The indexes have few rows: jobs without images, crashed jobs, failed deliveries. Building them reads their tables once.
"""

import sqlalchemy as sa

from migrations.operations import create_index

revision = "0033"
down_revision = "0032"
branch_labels = None
depends_on = None


def upgrade() -> None:
    create_index(
        "ix_jobs_unsuccessful",
        "jobs",
        ["status", "finished_at"],
        postgresql_include=["error_code", "model"],
        postgresql_where=sa.text("status IN ('failed', 'expired', 'cancelled')"),
    )
    create_index("ix_jobs_crashed", "jobs", ["id"], postgresql_where=sa.text("crashes > 0"))
    create_index(
        "ix_webhook_deliveries_failed", "webhook_deliveries", ["id"], postgresql_where=sa.text("status = 'failed'")
    )
