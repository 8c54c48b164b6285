"""Jobs store their parameters as one JSONB column.

Revision ID: 0015
Revises: 0014

The columns that it replaces stay, and both are written, until no worker of version 0.1 runs (ADR 12). Adding a column
without a default changes the catalogue alone, whatever the size of the table.
"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB

revision = "0015"
down_revision = "0014"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column(
        "jobs",
        sa.Column(
            "parameters", JSONB, comment="core.parameters.job; null: version 0.1 wrote the columns that it replaces"
        ),
    )
