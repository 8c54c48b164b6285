"""The list of files leaves out images that requests brought along, and does not read them.

Revision ID: 0024
Revises: 0023
"""

import sqlalchemy as sa

from migrations.operations import create_index

revision = "0024"
down_revision = "0023"
branch_labels = None
depends_on = None


def upgrade() -> None:
    create_index(
        "ix_files_listed",
        "files",
        ["project_id", "id"],
        postgresql_where=sa.text("(is_copy IS NOT TRUE OR purpose <> 'vision')"),
    )
