"""Lists by status, by model and by metadata have indexes, however many jobs a project has."""

import sqlalchemy as sa

from migrations.operations import create_index

revision = "0014"
down_revision = "0013"
branch_labels = None
depends_on = None


def upgrade() -> None:
    create_index("ix_jobs_project_status", "jobs", ["project_id", "status", "id"])
    create_index("ix_jobs_project_model", "jobs", ["project_id", "model", "id"])
    create_index(
        "ix_jobs_metadata",
        "jobs",
        ["metadata"],
        postgresql_using="gin",
        postgresql_ops={"metadata": "jsonb_path_ops"},
        postgresql_where=sa.text("metadata <> '{}'"),
    )
