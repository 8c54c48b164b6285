"""A heartbeat touches no index: the end of a lease leaves the indexes, so that a renewal is a HOT update."""

from migrations.operations import drop_index

revision = "0013"
down_revision = "0012"
branch_labels = None
depends_on = None


def upgrade() -> None:
    drop_index("ix_jobs_lease_end", "jobs")
