"""Jobs that begin with a picture, that are postprocessed, previewed, and done with a warning."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column(
        "jobs",
        sa.Column(
            "inputs", JSONB(), server_default=sa.text("'{}'"), nullable=False, comment="ids of files: image, mask"
        ),
    )
    op.add_column(
        "jobs",
        sa.Column(
            "strength",
            sa.Double(),
            nullable=True,
            comment="of an edit; above 0 (nothing changes) up to 1 (nothing remains)",
        ),
    )
    op.add_column("jobs", sa.Column("postprocess", JSONB(), nullable=True))
    op.add_column(
        "jobs",
        sa.Column(
            "partial_images",
            sa.SmallInteger(),
            server_default=sa.text("0"),
            nullable=False,
            comment="previews asked for",
        ),
    )
    op.add_column(
        "jobs",
        sa.Column(
            "warnings", JSONB(), server_default=sa.text("'[]'"), nullable=False, comment="what the model did not see"
        ),
    )
    op.create_check_constraint(
        op.f("ck_jobs_image_unless_generation"), "jobs", "(operation = 'generation') = ((inputs -> 'image') IS NULL)"
    )
    op.create_check_constraint(
        op.f("ck_jobs_strength_of_an_edit"), "jobs", "(operation = 'edit') = (strength IS NOT NULL)"
    )
