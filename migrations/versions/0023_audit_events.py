"""The audit log.

Revision ID: 0023
Revises: 0022
"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB

revision = "0023"
down_revision = "0022"
branch_labels = None
depends_on = None

AUDIT_ID = sa.text(
    "'audit_log-' || lpad(to_hex((extract(epoch FROM clock_timestamp()) * 1000)::bigint), 12, '0')"
    " || left(replace(gen_random_uuid()::text, '-', ''), 20)"
)


def upgrade() -> None:
    op.create_table(
        "audit_events",
        sa.Column("id", sa.Text, server_default=AUDIT_ID),
        sa.Column("type", sa.Text, nullable=False),
        sa.Column("actor", sa.Text, nullable=False, comment="api_key, command or none"),
        sa.Column("api_key_id", sa.Text, comment="the key of the actor"),
        sa.Column("project_id", sa.Text, comment="null: not about one project"),
        sa.Column("subject_id", sa.Text, comment="what the event is about: a key, an endpoint, a file"),
        sa.Column("data", JSONB, nullable=False, server_default=sa.text("'{}'")),
        sa.Column(
            "created_at",
            sa.DateTime(timezone=True),
            nullable=False,
            server_default=sa.text("clock_timestamp()"),
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_audit_events")),
    )
    op.create_index("ix_audit_events_retention", "audit_events", ["created_at"])
