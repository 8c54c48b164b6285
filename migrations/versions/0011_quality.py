"""How carefully a provider draws, as a job asks for it."""

import sqlalchemy as sa
from alembic import op

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column(
        "jobs",
        sa.Column(
            "quality",
            sa.Text(),
            server_default=sa.text("'auto'"),
            nullable=False,
            comment="how carefully a provider draws",
        ),
    )
