"""Device-seconds of fine-tuning jobs, and how much their models store.

Revision ID: 0041
Revises: 0040

Columns without a default, or with a constant one, change the catalogue alone. Programs of an earlier version write none
of them: a training that such a worker runs counts nothing.
"""

import sqlalchemy as sa
from alembic import op

revision = "0041"
down_revision = "0040"
branch_labels = None
depends_on = None

ZERO = sa.text("0")


def upgrade() -> None:
    cost: sa.Column[float] = sa.Column(
        "cost", sa.Double(), comment="estimated device-seconds; null: an earlier version wrote it"
    )
    op.add_column("fine_tuning_jobs", cost)
    used = "for which workers trained it"
    op.add_column(
        "fine_tuning_jobs", sa.Column("device_seconds", sa.Double(), nullable=False, server_default=ZERO, comment=used)
    )
    until = "end of what device_seconds has; null: no worker trains it"
    op.add_column("fine_tuning_jobs", sa.Column("counted_until", sa.DateTime(timezone=True), comment=until))
    models = sa.Column(
        "models", sa.BigInteger(), nullable=False, server_default=ZERO, comment="fine-tuned, with checkpoints"
    )
    op.add_column("storage_use", models)
    op.add_column("storage_use", sa.Column("model_bytes", sa.BigInteger(), nullable=False, server_default=ZERO))
