"""What each project stores, as the sweep counts it.

Revision ID: 0032
Revises: 0031
"""

import sqlalchemy as sa
from alembic import op

revision = "0032"
down_revision = "0031"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "storage_use",
        sa.Column("project_id", sa.Text, nullable=False),
        sa.Column("images", sa.BigInteger, nullable=False),
        sa.Column("image_bytes", sa.BigInteger, nullable=False),
        sa.Column("files", sa.BigInteger, nullable=False),
        sa.Column("file_bytes", sa.BigInteger, nullable=False),
        sa.Column(
            "counted_at", sa.DateTime(timezone=True), nullable=False, server_default=sa.text("clock_timestamp()")
        ),
        sa.PrimaryKeyConstraint("project_id", name=op.f("pk_storage_use")),
    )
