"""An index of fine-tuning jobs by their end, for their retention.

Revision ID: 0040
Revises: 0039

The index is built while the programs write.
"""

from sqlalchemy import text

from migrations.operations import create_index

revision = "0040"
down_revision = "0039"
branch_labels = None
depends_on = None


def upgrade() -> None:
    create_index(
        "ix_fine_tuning_jobs_retention",
        "fine_tuning_jobs",
        ["finished_at"],
        postgresql_where=text("finished_at IS NOT NULL"),
    )
