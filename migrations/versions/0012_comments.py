"""Comments say image, as the code does. A change of the catalogue alone."""

from alembic import op

revision = "0012"
down_revision = "0011"
branch_labels = None
depends_on = None

COMMENTS = {
    ("jobs", "response_format"): "how the batch's output shows the images: url or b64_json",
    ("provider_calls", "n"): "images asked for",
}


def upgrade() -> None:
    for (table, column), comment in COMMENTS.items():
        op.alter_column(table, column, comment=comment)
