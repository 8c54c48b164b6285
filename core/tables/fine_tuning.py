"""Fine-tuning jobs, their events, and the models that they make."""

from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    Column,
    Double,
    ForeignKey,
    Identity,
    Index,
    Integer,
    Table,
    Text,
    Uuid,
    text,
)
from sqlalchemy.dialects.postgresql import JSONB

from core.status import FINE_TUNING_FINAL, FineTuningStatus
from core.tables.base import NOW, Time, metadata, one_of

_OPEN = f"NOT {one_of('status', FINE_TUNING_FINAL)}"

fine_tuning_jobs = Table(
    "fine_tuning_jobs",
    metadata,
    Column("id", Text, primary_key=True),
    Column("project_id", Text, ForeignKey("projects.id"), nullable=False),
    Column("api_key_id", Text, comment="the key that created it"),
    Column("status", Text, nullable=False),
    # The request
    Column("model", Text, nullable=False, comment="id of the base model"),
    Column("training_file", Text, nullable=False, comment="id of the file"),
    Column("validation_file", Text, comment="id of the file; not used"),
    Column("suffix", Text),
    Column("seed", BigInteger, nullable=False),
    Column("request", JSONB, nullable=False, comment="the hyperparameters of the request, and where it has them"),
    Column("metadata", JSONB, nullable=False, server_default=text("'{}'")),
    Column("warnings", JSONB, nullable=False, server_default=text("'[]'")),
    # The training
    Column("hyperparameters", JSONB, comment="those that it runs with; null: the file is not read yet"),
    Column("images", Integer, comment="of the training file"),
    Column("step", Integer, nullable=False, server_default=text("0"), comment="steps that are done"),
    Column("state_key", Text, comment="object from which it goes on after an interruption"),
    Column("state_step", Integer, comment="steps that are done in that object"),
    Column("lease", Uuid, comment="the token that a worker's writes must show; fresh per claim"),
    Column("lease_expires_at", Time),
    Column("worker", Text),
    Column("attempts", Integer, nullable=False, server_default=text("0"), comment="claims since the last saved state"),
    Column("cost", Double, comment="estimated device-seconds; null: an earlier version wrote it"),
    Column("device_seconds", Double, nullable=False, server_default=text("0"), comment="for which workers trained it"),
    Column("counted_until", Time, comment="end of what device_seconds has; null: no worker trains it"),
    # How it ended
    Column("fine_tuned_model", Text, comment="name of the model"),
    Column("error", JSONB, comment="code, message, param"),
    Column("created_at", Time, nullable=False, server_default=NOW),
    Column("started_at", Time),
    Column("finished_at", Time),
    CheckConstraint(one_of("status", tuple(FineTuningStatus)), name="status"),
    CheckConstraint("(lease IS NULL) = (lease_expires_at IS NULL)", name="lease_has_an_end"),
    CheckConstraint("(state_key IS NULL) = (state_step IS NULL)", name="state_has_a_step"),
    CheckConstraint("(status = 'failed') = (error IS NOT NULL)", name="error_when_failed"),
    CheckConstraint("(status = 'succeeded') = (fine_tuned_model IS NOT NULL)", name="model_when_succeeded"),
    CheckConstraint(f"({one_of('status', FINE_TUNING_FINAL)}) = (finished_at IS NOT NULL)", name="end_when_final"),
    Index("ix_fine_tuning_jobs_project", "project_id", "id"),
    Index("ix_fine_tuning_jobs_open", "project_id", postgresql_where=text(_OPEN)),
    Index("ix_fine_tuning_jobs_state", "state_key", postgresql_where=text("state_key IS NOT NULL")),
    Index("ix_fine_tuning_jobs_retention", "finished_at", postgresql_where=text("finished_at IS NOT NULL")),
)

fine_tuning_events = Table(
    "fine_tuning_events",
    metadata,
    Column("seq", BigInteger, Identity(always=True), primary_key=True),
    Column("id", Text, nullable=False, unique=True),
    Column("fine_tuning_job_id", Text, ForeignKey("fine_tuning_jobs.id", ondelete="CASCADE"), nullable=False),
    Column("project_id", Text, nullable=False, comment="that of the job"),
    Column("level", Text, nullable=False),
    Column("type", Text, nullable=False),
    Column("message", Text, nullable=False),
    Column("data", JSONB, nullable=False, server_default=text("'{}'")),
    Column("created_at", Time, nullable=False, server_default=NOW),
    CheckConstraint("level IN ('info', 'warn', 'error')", name="level"),
    CheckConstraint("type IN ('message', 'metrics')", name="type"),
    Index("ix_fine_tuning_events_job", "fine_tuning_job_id", "seq"),
)

fine_tuned_models = Table(
    "fine_tuned_models",
    metadata,
    Column("id", Text, primary_key=True, comment="the name that requests have"),
    Column("project_id", Text, nullable=False, comment="that of the job"),
    Column("fine_tuning_job_id", Text, ForeignKey("fine_tuning_jobs.id", ondelete="CASCADE"), nullable=False),
    Column("model", Text, nullable=False, comment="id of the base model"),
    Column("checkpoint_id", Text, unique=True, comment="null: the model at the end of the training"),
    Column("step", Integer, nullable=False),
    Column("metrics", JSONB, nullable=False),
    Column("storage_key", Text, nullable=False, unique=True),
    Column("bytes", BigInteger, nullable=False),
    Column("sha256", Text, nullable=False),
    Column("created_at", Time, nullable=False, server_default=NOW),
    Index("ix_fine_tuned_models_project", "project_id", "id"),
    Index("ix_fine_tuned_models_job", "fine_tuning_job_id", "step"),
)
