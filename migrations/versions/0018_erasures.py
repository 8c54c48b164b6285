"""Erasures, and the indexes that find what belongs to a job.

Revision ID: 0018
Revises: 0017

A job without input images is not in the index of inputs, and costs nothing more. The column of files has no default, so
adding it changes the catalogue alone.
"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB

from migrations.operations import create_index

revision = "0018"
down_revision = "0017"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "erasures",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("project_id", sa.Text(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column(
            "subject",
            sa.Text(),
            nullable=True,
            comment="id of the job, batch or project, or the user; null: a user, after the end",
        ),
        sa.Column(
            "batch_id", sa.Text(), nullable=True, comment="of a job that is a line: the batch whose files contain it"
        ),
        sa.Column(
            "counts", JSONB(), server_default=sa.text("'{}'"), nullable=False, comment="what was deleted, by kind"
        ),
        sa.Column(
            "created_at", sa.DateTime(timezone=True), server_default=sa.text("clock_timestamp()"), nullable=False
        ),
        sa.Column("finished_at", sa.DateTime(timezone=True), nullable=True),
        sa.CheckConstraint("kind IN ('job', 'batch', 'user', 'project')", name=op.f("ck_erasures_kind")),
        sa.CheckConstraint(
            "subject IS NOT NULL OR finished_at IS NOT NULL", name=op.f("ck_erasures_subject_until_the_end")
        ),
        sa.ForeignKeyConstraint(["project_id"], ["projects.id"], name=op.f("fk_erasures_project_id_projects")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_erasures")),
    )
    op.create_index("ix_erasures_open", "erasures", ["id"], postgresql_where=sa.text("finished_at IS NULL"))
    op.create_index(
        "ix_erasures_retention", "erasures", ["finished_at"], postgresql_where=sa.text("finished_at IS NOT NULL")
    )
    op.add_column("files", sa.Column("is_copy", sa.Boolean(), comment="of an image in a request; null: not known"))
    create_index(
        "ix_jobs_inputs",
        "jobs",
        ["inputs"],
        postgresql_using="gin",
        postgresql_ops={"inputs": "jsonb_path_ops"},
        postgresql_where=sa.text("inputs <> '{}'"),
    )
    create_index("ix_idempotency_keys_subject", "idempotency_keys", [sa.text("(response ->> 'id')")])
