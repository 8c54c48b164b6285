"""Jobs, their events and their images. `in_status` names a status so that Postgres uses the partial indexes."""

from enum import StrEnum
from typing import Any

from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    Column,
    ColumnElement,
    Computed,
    Double,
    ForeignKey,
    FromClause,
    Identity,
    Index,
    Integer,
    SmallInteger,
    Table,
    Text,
    UniqueConstraint,
    Uuid,
    cast,
    func,
    literal_column,
    text,
)
from sqlalchemy.dialects.postgresql import JSONB

from core.event_types import event_names
from core.status import FINAL, JobStatus
from core.tables.base import EVENT_ID, NOW, Time, metadata, one_of

BATCH_PRECEDENCE = 1000
"""How far behind interactive work a batch's jobs stand: farther than any priority reaches."""

jobs = Table(
    "jobs",
    metadata,
    Column("id", Text, primary_key=True),
    Column("project_id", Text, ForeignKey("projects.id"), nullable=False),
    Column("status", Text, nullable=False),
    Column("version", Integer, nullable=False, server_default=text("1"), comment="counts changes; the ETag"),
    # What was asked for
    Column("operation", Text, nullable=False),
    Column("model", Text, nullable=False),
    Column("prompt", Text, nullable=False),
    Column("negative_prompt", Text),
    Column("n", SmallInteger, nullable=False),
    Column("size", Text, nullable=False, comment="WIDTHxHEIGHT, px"),
    Column("steps", Integer, nullable=False),
    Column("guidance_scale", Double, nullable=False),
    Column("seed", BigInteger, nullable=False, comment="of the first image; image i has seed + i, modulo 2**32"),
    Column("quality", Text, nullable=False, server_default=text("'auto'"), comment="how carefully a provider draws"),
    Column("output_format", Text, nullable=False),
    Column("output_compression", SmallInteger),
    Column("parameters", JSONB, comment="core.parameters.job; null: version 0.1 wrote the columns that it replaces"),
    Column("inputs", JSONB, nullable=False, server_default=text("'{}'"), comment="ids of files: image, mask"),
    Column("strength", Double, comment="of an edit; above 0 (nothing changes) up to 1 (nothing remains)"),
    Column("postprocess", JSONB),
    Column("partial_images", SmallInteger, nullable=False, server_default=text("0"), comment="previews asked for"),
    Column("metadata", JSONB, nullable=False, server_default=text("'{}'")),
    Column("webhook", JSONB, comment="the job's own receiver: url, events, secret"),
    Column("retried_from", Text, comment="the job this one repeats"),
    Column("reproduces", JSONB, comment="the job and the images that this one draws again"),
    Column("api_key_id", Text, comment="the key that submitted it; null: no key was needed, or version 0.1 wrote it"),
    Column("request_id", Text, comment="of the HTTP request that submitted it; null: a line of a file, or version 0.1"),
    Column("traceparent", Text, comment="W3C's context of its request; null: no tracing"),
    Column("provider_usd", Double, comment="estimated price at a provider; null: local, or version 0.1 wrote it"),
    # The batch it is a line of. No foreign key: fifty thousand rows would each look at the same one
    Column("batch_id", Text),
    Column("batch_index", Integer, comment="which line of the batch, from 0"),
    Column("custom_id", Text, comment="the owner's name for the line"),
    Column("response_format", Text, comment="how the batch's output shows the images: url or b64_json"),
    # Its position in the queue
    Column("queue", Text, nullable=False),
    Column(
        "batch_key",
        Text,
        key="microbatch_key",
        nullable=False,
        comment="jobs with the same key can share a pass over the device",
    ),
    Column(
        "microbatch",
        SmallInteger,
        key="microbatch_size",
        nullable=False,
        comment="images that go through the device together",
    ),
    Column(
        "priority",
        SmallInteger,
        nullable=False,
        server_default=text("0"),
        comment="among all projects: core.priorities",
    ),
    Column(
        "project_priority",
        SmallInteger,
        nullable=False,
        server_default=text("0"),
        comment="further priority, within the project",
    ),
    Column("cost", Double, nullable=False, comment="estimated device-seconds"),
    Column("fair_rank", Double, nullable=False, comment="finish tag of fair queueing: core.fairness"),
    Column(
        "precedence",
        SmallInteger,
        Computed(f"CASE WHEN batch_id IS NULL THEN 0 ELSE {BATCH_PRECEDENCE} END - priority", persisted=True),
        nullable=False,
        comment="lower goes first: interactive before batch, then higher priority",
    ),
    Column("not_before", Time, nullable=False, server_default=NOW),
    Column("expires_at", Time, nullable=False, comment="expires if it still waits then"),
    # Who works on it
    Column("lease", Uuid, comment="the token that every worker write must show; fresh per claim"),
    Column("lease_expires_at", Time),
    Column("attempt_deadline", Time, comment="no renewal reaches beyond it"),
    Column("worker", Text),
    Column("reserved_by", Uuid, comment="token of a worker that will begin it soon: core.reservations"),
    Column("reserved_until", Time, comment="until then no other worker claims it"),
    Column("attempts", Integer, nullable=False, server_default=text("0"), comment="claims; never falls"),
    Column(
        "failures",
        Integer,
        nullable=False,
        server_default=text("0"),
        comment="attempts that ended in an error",
    ),
    Column("crashes", Integer, nullable=False, server_default=text("0"), comment="attempts whose lease ran out"),
    Column("max_attempts", Integer, nullable=False),
    Column("cancel_requested_at", Time),
    # How it ended
    Column("error_code", Text),
    Column("error_message", Text),
    Column("warnings", JSONB, nullable=False, server_default=text("'[]'"), comment="what the model did not see"),
    Column("moderation", JSONB, comment="core.moderation.Verdict; null: no check ran"),
    Column("created_at", Time, nullable=False, server_default=NOW),
    Column("started_at", Time, comment="of the latest attempt"),
    Column("finished_at", Time),
    CheckConstraint(one_of("status", tuple(JobStatus)), name="status"),
    CheckConstraint("(status = 'in_progress') = (lease IS NOT NULL)", name="lease_while_in_progress"),
    CheckConstraint("(lease IS NULL) = (lease_expires_at IS NULL)", name="lease_has_an_end"),
    CheckConstraint(f"({one_of('status', FINAL)}) = (finished_at IS NOT NULL)", name="finished_when_final"),
    CheckConstraint("(status = 'failed') = (error_code IS NOT NULL)", name="error_when_failed"),
    CheckConstraint("(operation = 'generation') = ((inputs -> 'image') IS NULL)", name="image_unless_generation"),
    CheckConstraint("(operation = 'edit') = (strength IS NOT NULL)", name="strength_of_an_edit"),
    CheckConstraint("(batch_id IS NULL) = (batch_index IS NULL)", name="line_of_a_batch"),
    CheckConstraint("seed BETWEEN 0 AND 4294967295", name="seed"),
    CheckConstraint("n BETWEEN 1 AND 64", name="n"),
    # Vacuum early: a queue's rows die young, and a bloated partial index slows every claim.
    postgresql_with={"autovacuum_vacuum_scale_factor": "0.01", "fillfactor": "80"},
)


LEGACY_COLUMNS = (
    "negative_prompt", "size", "steps", "guidance_scale", "seed", "quality", "output_format", "output_compression",
    "strength", "postprocess", "partial_images",
)  # fmt: skip
"""Columns of version 0.1 that `parameters` replaces. Written until no worker of that version runs (decision 12)."""

_RESERVATION = ("reserved_by", "reserved_until")

_legacy = func.jsonb_build_object(*(part for name in LEGACY_COLUMNS for part in (name, jobs.c[name])))

JOB_COLUMNS = [
    *(column for column in jobs.c if column.name not in (*LEGACY_COLUMNS, *_RESERVATION, "parameters")),
    func.coalesce(jobs.c.parameters, func.jsonb_strip_nulls(_legacy), type_=JSONB).label("parameters"),
]
"""What a statement selects or returns of a job."""


def legacy_values(parameters: ColumnElement[Any]) -> list[ColumnElement[Any]]:
    """The values of LEGACY_COLUMNS, from the JSON of the parameters."""
    return [
        parameters[name] if isinstance(jobs.c[name].type, JSONB) else cast(parameters[name].astext, jobs.c[name].type)
        for name in LEGACY_COLUMNS
    ]


def in_status(*statuses: StrEnum, of: FromClause = jobs) -> ColumnElement[bool]:
    """Whether a job has one of these statuses, or a row of another table `of`.

    They are constants in the SQL, not parameters: only then can the plan of a prepared statement use the partial
    indexes below, whose predicates name a status.
    """
    words = [literal_column(repr(str(status)), Text) for status in statuses]
    return of.c.status == words[0] if len(words) == 1 else of.c.status.in_(words)


def equals_in_order(column: ColumnElement[Any], value: Any) -> ColumnElement[bool]:
    """`column = value`, written as BETWEEN so that the planner keeps the column in the sort key.

    It then picks the index that starts with the column. With `=` it drops the column from the sort key, and may scan an
    index on the rest of the key through the whole queue for one row with the value.
    """
    return column.between(value, value)


_is_queued = text("status = 'queued'")
_running = text("status = 'in_progress'")
_unsuccessful = text(one_of("status", (JobStatus.FAILED, JobStatus.EXPIRED, JobStatus.CANCELLED)))
_alive = text(one_of("status", (JobStatus.QUEUED, JobStatus.IN_PROGRESS)))
# Each index costs a write at submit, and one more at claim and at the end where its rows still qualify: a change of
# status is never a HOT update. A renewal of a lease is one, as no index has `lease_expires_at` (docs/decisions/0012).

# The claim: the first of the queue; queue_position and has_jobs_ahead too
Index("ix_jobs_line", jobs.c.queue, jobs.c.precedence, jobs.c.fair_rank, jobs.c.id, postgresql_where=_is_queued)
# The claim of a fair turn, the first by fair rank alone; the queue's clock, which each submit reads (core.fairness)
Index("ix_jobs_fair_line", jobs.c.queue, jobs.c.fair_rank, jobs.c.id, postgresql_where=_is_queued)
# The claim: what shares a micro-batch key with the first. Without it a rare key reads the whole queue
Index(
    "ix_jobs_companions",
    jobs.c.queue,
    jobs.c.microbatch_key,
    jobs.c.precedence,
    jobs.c.fair_rank,
    jobs.c.id,
    postgresql_where=_is_queued,
)
# The submit: the last rank of a flow (core.fairness)
Index("ix_jobs_flow", jobs.c.queue, jobs.c.project_id, jobs.c.precedence, jobs.c.fair_rank, postgresql_where=_alive)
# The submit of a job with a priority within its project: behind the last of its like (core.priorities). Few rows
Index(
    "ix_jobs_project_priority",
    jobs.c.queue,
    jobs.c.project_id,
    jobs.c.precedence,
    jobs.c.project_priority,
    jobs.c.fair_rank,
    postgresql_where=text(f"{_is_queued.text} AND project_priority > 0"),
)
# The submit: the highest rank on the device (core.fairness). Few rows
Index("ix_jobs_on_device", jobs.c.queue, jobs.c.precedence, jobs.c.fair_rank, postgresql_where=_running)
# The heartbeat of a micro-batch, by its token; reclaim reads it whole. Few rows, none of which a renewal writes again
Index("ix_jobs_lease", jobs.c.lease, postgresql_where=_running)
# The sweep: what waited too long
Index("ix_jobs_expiry", jobs.c.expires_at, postgresql_where=_is_queued)
# The sweep: what ended long ago
Index("ix_jobs_retention", jobs.c.finished_at, postgresql_where=text("finished_at IS NOT NULL"))
# The operator: failures by code over time, from the index alone; what is to be retried. Only such jobs are in it
Index(
    "ix_jobs_unsuccessful",
    jobs.c.status,
    jobs.c.finished_at,
    postgresql_include=["error_code", "model"],
    postgresql_where=_unsuccessful,
)
# The operator: jobs whose lease ran out. Few rows
Index("ix_jobs_crashed", jobs.c.id, postgresql_where=text("crashes > 0"))
# A job is repeated once; finds its repetition. Empty for other jobs
Index("uq_jobs_retried_from", jobs.c.retried_from, unique=True, postgresql_where=text("retried_from IS NOT NULL"))
# A project's list: all, by status, by model, each in the order of its pages
Index("ix_jobs_project", jobs.c.project_id, jobs.c.id)
Index("ix_jobs_project_status", jobs.c.project_id, jobs.c.status, jobs.c.id)
Index("ix_jobs_project_model", jobs.c.project_id, jobs.c.model, jobs.c.id)
# A project's list by metadata. Jobs without any are not in it
Index(
    "ix_jobs_metadata",
    jobs.c.metadata,
    postgresql_using="gin",
    postgresql_ops={"metadata": "jsonb_path_ops"},
    postgresql_where=text("metadata <> '{}'"),
)
# The erasure: whether another job uses an input image. Jobs without one are not in it
Index(
    "ix_jobs_inputs",
    jobs.c.inputs,
    postgresql_using="gin",
    postgresql_ops={"inputs": "jsonb_path_ops"},
    postgresql_where=text("inputs <> '{}'"),
)
# A batch has each line once; its lines in order; its counts, from the index alone. Empty for other jobs
Index(
    "uq_jobs_batch",
    jobs.c.batch_id,
    jobs.c.batch_index,
    unique=True,
    postgresql_include=["status"],
    postgresql_where=text("batch_id IS NOT NULL"),
)
# Whether a batch is over, asked many times a second; what of it is to be cancelled
Index("ix_jobs_batch_alive", jobs.c.batch_id, postgresql_where=text(f"batch_id IS NOT NULL AND {_alive.text}"))

job_events = Table(
    "job_events",
    metadata,
    Column("seq", BigInteger, Identity(always=True), primary_key=True, comment="SSE id; rises within a job"),
    Column(
        "id",
        Text,
        nullable=False,
        unique=True,
        server_default=EVENT_ID,
    ),
    Column("job_id", Text, ForeignKey("jobs.id", ondelete="CASCADE"), nullable=False),
    Column("type", Text, nullable=False),
    Column("data", JSONB, nullable=False, server_default=text("'{}'")),
    Column("created_at", Time, nullable=False, server_default=NOW),
    Index("ix_job_events_job", "job_id", "seq"),
)
Index(
    "uq_job_events_final",
    job_events.c.job_id,
    unique=True,
    postgresql_where=text(one_of("type", event_names("job", final=True))),
)

images = Table(
    "images",
    metadata,
    Column("id", Text, primary_key=True),
    Column("job_id", Text, ForeignKey("jobs.id", ondelete="CASCADE"), nullable=False),
    Column("project_id", Text, ForeignKey("projects.id"), nullable=False),
    Column("index", SmallInteger, nullable=False),
    Column("seed", BigInteger, nullable=False),
    Column("storage_key", Text, nullable=False, unique=True),
    Column("media_type", Text, nullable=False),
    Column("width", Integer, nullable=False),
    Column("height", Integer, nullable=False),
    Column("bytes", Integer, nullable=False),
    Column("sha256", Text, nullable=False),
    Column("receipt", JSONB, nullable=False, comment="what drew it: model revision, versions, device, timing"),
    Column("created_at", Time, nullable=False, server_default=NOW),
    Column("reproduction", JSONB, comment="comparison with the image that it draws again"),
    UniqueConstraint("job_id", "index"),
)
