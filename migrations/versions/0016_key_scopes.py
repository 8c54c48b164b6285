"""API keys have scopes, an end, and the time of their last use. Keys that exist get all scopes but admin.

Revision ID: 0016
Revises: 0015
"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import ARRAY

revision = "0016"
down_revision = "0015"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column(
        "api_keys",
        sa.Column(
            "scopes",
            ARRAY(sa.Text),
            nullable=False,
            server_default=sa.text("'{submit,read,webhooks}'"),
            comment="what the key may be used for: core.scopes",
        ),
    )
    op.add_column("api_keys", sa.Column("expires_at", sa.DateTime(timezone=True), comment="null: never"))
    op.add_column(
        "api_keys",
        sa.Column("last_used_at", sa.DateTime(timezone=True), comment="written at most once a minute"),
    )
