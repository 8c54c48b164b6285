"""Limits of jobs that run at once, and of images per minute.

Revision ID: 0038
Revises: 0037

Columns without a default and an empty table change the catalogue alone. A worker of an earlier version does not know
the limit: it is exact when all workers are upgraded.
"""

import sqlalchemy as sa
from alembic import op

revision = "0038"
down_revision = "0037"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("limits", sa.Column("running_jobs", sa.Integer(), comment="in progress at once"))
    op.add_column("limits", sa.Column("images_per_minute", sa.Integer()))
    op.create_table(
        "subjects_at_limit",
        sa.Column("subject_id", sa.Text(), primary_key=True, comment="a project or an API key"),
        sa.Column("until", sa.DateTime(timezone=True), nullable=False, comment="a claim renews it while it is true"),
    )
