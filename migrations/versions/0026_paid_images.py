"""Images that were paid for wait in the database while the storage is unavailable.

Revision ID: 0026
Revises: 0025
"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import ARRAY, JSONB

revision = "0026"
down_revision = "0025"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "paid_images",
        sa.Column("job_id", sa.Text, nullable=False),
        sa.Column("images", ARRAY(sa.LargeBinary), nullable=False, comment="PNG files"),
        sa.Column("receipt", JSONB, nullable=False, comment="the provider's part of the receipts"),
        sa.Column(
            "created_at",
            sa.DateTime(timezone=True),
            nullable=False,
            server_default=sa.text("clock_timestamp()"),
        ),
        sa.ForeignKeyConstraint(["job_id"], ["jobs.id"], name=op.f("fk_paid_images_job_id_jobs"), ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("job_id", name=op.f("pk_paid_images")),
    )
