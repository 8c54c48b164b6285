"""Jobs say which images they draw again, and images say how they compare with the originals.

Revision ID: 0030
Revises: 0029

Adding a column without a default changes the catalogue alone, whatever the size of the table.
"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB

revision = "0030"
down_revision = "0029"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("jobs", sa.Column("reproduces", JSONB, comment="the job and the images that this one draws again"))
    op.add_column("images", sa.Column("reproduction", JSONB, comment="comparison with the image that it draws again"))
