"""Workers report their device, its memory, the models that are loaded, and when they did so last.

Revision ID: 0031
Revises: 0030

Adding columns without a default changes the catalogue alone. Workers of an earlier version leave them null.
"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import ARRAY

revision = "0031"
down_revision = "0030"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("workers", sa.Column("renewed_at", sa.DateTime(timezone=True), comment="the last heartbeat"))
    op.add_column("workers", sa.Column("device", sa.Text, comment="null: none is used yet, or at all"))
    op.add_column("workers", sa.Column("loaded_models", ARRAY(sa.Text), comment="the one used last comes last"))
    op.add_column("workers", sa.Column("resident_bytes", sa.BigInteger, comment="RAM of the process"))
    op.add_column("workers", sa.Column("device_bytes", sa.BigInteger, comment="weights of the loaded models"))
    op.add_column("workers", sa.Column("device_capacity", sa.BigInteger, comment="bytes that weights may take"))
