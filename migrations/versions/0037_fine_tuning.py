"""Fine-tuning jobs, their events and models; files with the purpose `fine-tune`.

Revision ID: 0037
Revises: 0036

The tables are new. The rule of purposes is replaced by one that allows another value: the new rule is checked for old rows
without a lock, and the old one goes afterwards. Programs of an earlier version write none of the new values.
"""

from alembic import op
from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    Column,
    DateTime,
    ForeignKeyConstraint,
    Identity,
    Integer,
    PrimaryKeyConstraint,
    Text,
    UniqueConstraint,
    Uuid,
    text,
)
from sqlalchemy.dialects.postgresql import JSONB

from migrations.operations import add_check

revision = "0037"
down_revision = "0036"
branch_labels = None
depends_on = None

_FINAL = "status IN ('succeeded', 'failed', 'cancelled')"
_PURPOSES = "purpose IN ('vision', 'batch', 'batch_output', 'user_data', 'fine-tune')"


def upgrade() -> None:
    add_check("ck_files_purposes", "files", _PURPOSES)
    op.drop_constraint(op.f("ck_files_purpose"), "files", if_exists=True)
    now = text("clock_timestamp()")
    op.create_table(
        "fine_tuning_jobs",
        Column("id", Text(), nullable=False),
        Column("project_id", Text(), nullable=False),
        Column("api_key_id", Text(), comment="the key that created it"),
        Column("status", Text(), nullable=False),
        Column("model", Text(), nullable=False, comment="id of the base model"),
        Column("training_file", Text(), nullable=False, comment="id of the file"),
        Column("validation_file", Text(), comment="id of the file; not used"),
        Column("suffix", Text()),
        Column("seed", BigInteger(), nullable=False),
        Column("request", JSONB(), nullable=False, comment="the hyperparameters of the request, and where it has them"),
        Column("metadata", JSONB(), nullable=False, server_default=text("'{}'")),
        Column("warnings", JSONB(), nullable=False, server_default=text("'[]'")),
        Column("hyperparameters", JSONB(), comment="those that it runs with; null: the file is not read yet"),
        Column("images", Integer(), comment="of the training file"),
        Column("step", Integer(), nullable=False, server_default=text("0"), comment="steps that are done"),
        Column("state_key", Text(), comment="object from which it goes on after an interruption"),
        Column("state_step", Integer(), comment="steps that are done in that object"),
        Column("lease", Uuid(), comment="the token that a worker's writes must show; fresh per claim"),
        Column("lease_expires_at", DateTime(timezone=True)),
        Column("worker", Text()),
        Column(
            "attempts", Integer(), nullable=False, server_default=text("0"), comment="claims since the last saved state"
        ),
        Column("fine_tuned_model", Text(), comment="name of the model"),
        Column("error", JSONB(), comment="code, message, param"),
        Column("created_at", DateTime(timezone=True), nullable=False, server_default=now),
        Column("started_at", DateTime(timezone=True)),
        Column("finished_at", DateTime(timezone=True)),
        CheckConstraint(
            "status IN ('validating_files', 'queued', 'running', 'succeeded', 'failed', 'cancelled')",
            name=op.f("ck_fine_tuning_jobs_status"),
        ),
        CheckConstraint(
            "(lease IS NULL) = (lease_expires_at IS NULL)", name=op.f("ck_fine_tuning_jobs_lease_has_an_end")
        ),
        CheckConstraint(
            "(state_key IS NULL) = (state_step IS NULL)", name=op.f("ck_fine_tuning_jobs_state_has_a_step")
        ),
        CheckConstraint(
            "(status = 'failed') = (error IS NOT NULL)", name=op.f("ck_fine_tuning_jobs_error_when_failed")
        ),
        CheckConstraint(
            "(status = 'succeeded') = (fine_tuned_model IS NOT NULL)",
            name=op.f("ck_fine_tuning_jobs_model_when_succeeded"),
        ),
        CheckConstraint(f"({_FINAL}) = (finished_at IS NOT NULL)", name=op.f("ck_fine_tuning_jobs_end_when_final")),
        ForeignKeyConstraint(["project_id"], ["projects.id"], name=op.f("fk_fine_tuning_jobs_project_id_projects")),
        PrimaryKeyConstraint("id", name=op.f("pk_fine_tuning_jobs")),
    )
    op.create_index("ix_fine_tuning_jobs_project", "fine_tuning_jobs", ["project_id", "id"])
    op.create_index(
        "ix_fine_tuning_jobs_open", "fine_tuning_jobs", ["project_id"], postgresql_where=text(f"NOT {_FINAL}")
    )
    op.create_index(
        "ix_fine_tuning_jobs_state", "fine_tuning_jobs", ["state_key"], postgresql_where=text("state_key IS NOT NULL")
    )
    op.create_table(
        "fine_tuning_events",
        Column("seq", BigInteger(), Identity(always=True), nullable=False),
        Column("id", Text(), nullable=False),
        Column("fine_tuning_job_id", Text(), nullable=False),
        Column("project_id", Text(), nullable=False, comment="that of the job"),
        Column("level", Text(), nullable=False),
        Column("type", Text(), nullable=False),
        Column("message", Text(), nullable=False),
        Column("data", JSONB(), nullable=False, server_default=text("'{}'")),
        Column("created_at", DateTime(timezone=True), nullable=False, server_default=now),
        CheckConstraint("level IN ('info', 'warn', 'error')", name=op.f("ck_fine_tuning_events_level")),
        CheckConstraint("type IN ('message', 'metrics')", name=op.f("ck_fine_tuning_events_type")),
        ForeignKeyConstraint(
            ["fine_tuning_job_id"],
            ["fine_tuning_jobs.id"],
            name=op.f("fk_fine_tuning_events_fine_tuning_job_id_fine_tuning_jobs"),
            ondelete="CASCADE",
        ),
        PrimaryKeyConstraint("seq", name=op.f("pk_fine_tuning_events")),
        UniqueConstraint("id", name=op.f("uq_fine_tuning_events_id")),
    )
    op.create_index("ix_fine_tuning_events_job", "fine_tuning_events", ["fine_tuning_job_id", "seq"])
    op.create_table(
        "fine_tuned_models",
        Column("id", Text(), nullable=False, comment="the name that requests have"),
        Column("project_id", Text(), nullable=False, comment="that of the job"),
        Column("fine_tuning_job_id", Text(), nullable=False),
        Column("model", Text(), nullable=False, comment="id of the base model"),
        Column("checkpoint_id", Text(), comment="null: the model at the end of the training"),
        Column("step", Integer(), nullable=False),
        Column("metrics", JSONB(), nullable=False),
        Column("storage_key", Text(), nullable=False),
        Column("bytes", BigInteger(), nullable=False),
        Column("sha256", Text(), nullable=False),
        Column("created_at", DateTime(timezone=True), nullable=False, server_default=now),
        ForeignKeyConstraint(
            ["fine_tuning_job_id"],
            ["fine_tuning_jobs.id"],
            name=op.f("fk_fine_tuned_models_fine_tuning_job_id_fine_tuning_jobs"),
            ondelete="CASCADE",
        ),
        PrimaryKeyConstraint("id", name=op.f("pk_fine_tuned_models")),
        UniqueConstraint("checkpoint_id", name=op.f("uq_fine_tuned_models_checkpoint_id")),
        UniqueConstraint("storage_key", name=op.f("uq_fine_tuned_models_storage_key")),
    )
    op.create_index("ix_fine_tuned_models_project", "fine_tuned_models", ["project_id", "id"])
    op.create_index("ix_fine_tuned_models_job", "fine_tuned_models", ["fine_tuning_job_id", "step"])
