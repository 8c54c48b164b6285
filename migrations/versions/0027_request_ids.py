"""Jobs keep the id of the request that submitted them, for the logs.

Revision ID: 0027
Revises: 0026

Adding a column without a default changes the catalogue alone, whatever the size of the table.
"""

import sqlalchemy as sa
from alembic import op

revision = "0027"
down_revision = "0026"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column(
        "jobs",
        sa.Column(
            "request_id",
            sa.Text,
            comment="of the HTTP request that submitted it; null: a line of a file, or version 0.1",
        ),
    )
