"""The ledger's tables. A row is the truth; everything else may be lost.

The migrations in `migrations/versions` create them; a test compares the two. Times are the database's
(`clock_timestamp()`), and CHECK constraints hold what no code path may break.
"""

from collections.abc import Iterable
from typing import Any

from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    Column,
    ColumnElement,
    Computed,
    DateTime,
    Double,
    ForeignKey,
    FromClause,
    Identity,
    Index,
    Integer,
    Interval,
    LargeBinary,
    MetaData,
    Numeric,
    SmallInteger,
    Table,
    Text,
    UniqueConstraint,
    Uuid,
    literal_column,
    text,
)
from sqlalchemy.dialects.postgresql import JSONB

from core.status import BATCH_FINAL, FINAL, BatchStatus, CallOutcome, DeliveryStatus, JobStatus

metadata = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "ck": "ck_%(table_name)s_%(constraint_name)s",
        "fk": "fk_%(table_name)s_%(column_0_name)s_%(referred_table_name)s",
        "pk": "pk_%(table_name)s",
    }
)

Time = DateTime(timezone=True)
NOW = text("clock_timestamp()")
DEFAULT_PROJECT = "proj_default"
"""The project of requests without a key; the first migration creates it."""
BATCH_PRECEDENCE = 1000
"""How far behind interactive work a batch's jobs stand: farther than any priority reaches."""
FILE_PURPOSES = ("vision", "batch", "batch_output", "user_data")
"""What files are for, in OpenAI's words."""


_EVENT_ID = text(
    "'evt_' || lpad(to_hex((extract(epoch FROM clock_timestamp()) * 1000)::bigint), 12, '0')"
    " || left(replace(gen_random_uuid()::text, '-', ''), 20)"
)
"""evt_ + 12 hex digits of milliseconds + 20 of randomness: sorts by time like every other id."""


def _one_of(column: str, values: Iterable[str]) -> str:
    return f"{column} IN ({', '.join(repr(str(value)) for value in values)})"


projects = Table(
    "projects",
    metadata,
    Column("id", Text, primary_key=True),
    Column("name", Text, nullable=False),
    Column("created_at", Time, nullable=False, server_default=NOW),
)

api_keys = Table(
    "api_keys",
    metadata,
    Column("id", Text, primary_key=True),
    Column("project_id", Text, ForeignKey("projects.id"), nullable=False),
    Column("name", Text, nullable=False),
    Column("prefix", Text, nullable=False, comment="first characters of the key, to recognise it by"),
    Column(
        "hash",
        LargeBinary,
        nullable=False,
        unique=True,
        comment="SHA-256 of the key; the key itself is not kept",
    ),
    Column("created_at", Time, nullable=False, server_default=NOW),
    Column("revoked_at", Time),
)

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
    Column("inputs", JSONB, nullable=False, server_default=text("'{}'"), comment="ids of files: image, mask"),
    Column("strength", Double, comment="of an edit; above 0 (nothing changes) up to 1 (nothing remains)"),
    Column("postprocess", JSONB),
    Column("partial_images", SmallInteger, nullable=False, server_default=text("0"), comment="previews asked for"),
    Column("metadata", JSONB, nullable=False, server_default=text("'{}'")),
    Column("webhook", JSONB, comment="the job's own receiver: url, events, secret"),
    Column("retried_from", Text, comment="the job this one repeats"),
    # The batch it is a line of. No foreign key: fifty thousand rows would each look at the same one
    Column("batch_id", Text),
    Column("batch_index", Integer, comment="which line of the batch, from 0"),
    Column("custom_id", Text, comment="the owner's name for the line"),
    Column("response_format", Text, comment="how the batch's output shows the pictures: url or b64_json"),
    # Where it stands in line
    Column("queue", Text, nullable=False),
    Column("batch_key", Text, nullable=False, comment="jobs with the same key can share a pass over the device"),
    Column("microbatch", SmallInteger, nullable=False, comment="images that go through the device together"),
    Column("priority", SmallInteger, nullable=False, server_default=text("0")),
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
    Column("created_at", Time, nullable=False, server_default=NOW),
    Column("started_at", Time, comment="of the latest attempt"),
    Column("finished_at", Time),
    CheckConstraint(_one_of("status", tuple(JobStatus)), name="status"),
    CheckConstraint("(status = 'in_progress') = (lease IS NOT NULL)", name="lease_while_in_progress"),
    CheckConstraint("(lease IS NULL) = (lease_expires_at IS NULL)", name="lease_has_an_end"),
    CheckConstraint(f"({_one_of('status', FINAL)}) = (finished_at IS NOT NULL)", name="finished_when_final"),
    CheckConstraint("(status = 'failed') = (error_code IS NOT NULL)", name="error_when_failed"),
    CheckConstraint("(operation = 'generation') = ((inputs -> 'image') IS NULL)", name="image_unless_generation"),
    CheckConstraint("(operation = 'edit') = (strength IS NOT NULL)", name="strength_of_an_edit"),
    CheckConstraint("(batch_id IS NULL) = (batch_index IS NULL)", name="line_of_a_batch"),
    CheckConstraint("seed BETWEEN 0 AND 4294967295", name="seed"),
    CheckConstraint("n BETWEEN 1 AND 64", name="n"),
    # Vacuum early: a queue's rows die young, and a bloated partial index slows every claim.
    postgresql_with={"autovacuum_vacuum_scale_factor": "0.01", "fillfactor": "80"},
)


def in_status(*statuses: JobStatus, of: FromClause = jobs) -> ColumnElement[bool]:
    """Whether a job is in one of these states.

    The words stand in the SQL as constants, not as parameters: only then may a prepared statement's plan use the
    partial indexes below, whose predicates name a status.
    """
    words = [literal_column(repr(str(status)), Text) for status in statuses]
    return of.c.status == words[0] if len(words) == 1 else of.c.status.in_(words)


def is_kept_in_order(column: ColumnElement[Any], value: Any) -> ColumnElement[bool]:
    """Whether a column equals a value, said in such a way that an ORDER BY which begins with the column still means it.

    With `=` the planner drops the column from the order, and any index that has the rest of the order will do: where
    it takes the value for a common one it reads the whole line, looking for the one row that has it.
    """
    return column.between(value, value)


_waiting = text("status = 'queued'")
_running = text("status = 'in_progress'")
_alive = text(_one_of("status", (JobStatus.QUEUED, JobStatus.IN_PROGRESS)))
# The claim's looks: the first in line, the first by fair rank alone, what shares a batch key with it
Index("ix_jobs_line", jobs.c.queue, jobs.c.precedence, jobs.c.fair_rank, jobs.c.id, postgresql_where=_waiting)
Index("ix_jobs_fair_line", jobs.c.queue, jobs.c.fair_rank, jobs.c.id, postgresql_where=_waiting)
Index(
    "ix_jobs_companions",
    jobs.c.queue,
    jobs.c.batch_key,
    jobs.c.precedence,
    jobs.c.fair_rank,
    jobs.c.id,
    postgresql_where=_waiting,
)
# The rank's looks (core.fairness), beside the first two: a flow's last job, what is on the device
Index("ix_jobs_flow", jobs.c.queue, jobs.c.project_id, jobs.c.precedence, jobs.c.fair_rank, postgresql_where=_alive)
Index("ix_jobs_on_device", jobs.c.queue, jobs.c.precedence, jobs.c.fair_rank, postgresql_where=_running)
Index("ix_jobs_lease", jobs.c.lease, postgresql_where=_running)
Index("ix_jobs_lease_end", jobs.c.lease_expires_at, postgresql_where=_running)
Index("ix_jobs_expiry", jobs.c.expires_at, postgresql_where=_waiting)
Index("ix_jobs_retention", jobs.c.finished_at, postgresql_where=text("finished_at IS NOT NULL"))
Index("uq_jobs_retried_from", jobs.c.retried_from, unique=True, postgresql_where=text("retried_from IS NOT NULL"))
Index("ix_jobs_project", jobs.c.project_id, jobs.c.id)
Index(
    "uq_jobs_batch",
    jobs.c.batch_id,
    jobs.c.batch_index,
    unique=True,
    postgresql_include=["status"],  # a batch is counted from here alone
    postgresql_where=text("batch_id IS NOT NULL"),
)
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
        server_default=_EVENT_ID,
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
    postgresql_where=text(_one_of("type", tuple(f"job.{status}" for status in FINAL))),
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
    UniqueConstraint("job_id", "index"),
)

batches = Table(
    "batches",
    metadata,
    Column("id", Text, primary_key=True),
    Column("project_id", Text, ForeignKey("projects.id"), nullable=False),
    Column("status", Text, nullable=False),
    Column("version", Integer, nullable=False, server_default=text("1"), comment="counts changes of this row"),
    # What was asked for
    Column("endpoint", Text, nullable=False),
    Column("input_file_id", Text, comment="null: its prompts came with the request"),
    Column("parameters", JSONB, nullable=False, server_default=text("'{}'"), comment="what all lines share"),
    Column("response_format", Text, nullable=False, server_default=text("'url'"), comment="of lines that do not say"),
    Column("completion_window", Interval, nullable=False),
    Column("output_ttl", Interval, comment="how long the output files are kept; null: as finished jobs are"),
    Column("metadata", JSONB, nullable=False, server_default=text("'{}'")),
    Column("webhook", JSONB, comment="the batch's own receiver: url, events, secret"),
    Column("retried_from", Text, comment="the batch whose failed lines these are"),
    # What was found when it was read
    Column("total", Integer, nullable=False, server_default=text("0"), comment="lines"),
    Column("model", Text, comment="null: not known yet, or several"),
    Column("cost", Double, nullable=False, server_default=text("0"), comment="estimated device-seconds"),
    Column("errors", JSONB, comment="why it failed: line, code, param, message of each"),
    # Who reads it or writes its files
    Column("lease", Uuid, comment="the token that these writes must show; fresh per claim"),
    Column("lease_expires_at", Time),
    # How it ended
    Column("counts", JSONB, comment="how its jobs ended, by status; until it is final they are counted"),
    Column("output_file_id", Text),
    Column("error_file_id", Text),
    Column("created_at", Time, nullable=False, server_default=NOW),
    Column("expires_at", Time, nullable=False, comment="the end of the completion window"),
    *(Column(f"{status}_at", Time) for status in BatchStatus if status is not BatchStatus.VALIDATING),
    CheckConstraint(_one_of("status", tuple(BatchStatus)), name="status"),
    CheckConstraint("(lease IS NULL) = (lease_expires_at IS NULL)", name="lease_has_an_end"),
    CheckConstraint("(status = 'failed') = (errors IS NOT NULL)", name="errors_when_failed"),
    CheckConstraint(f"({_one_of('status', BATCH_FINAL)}) = (counts IS NOT NULL)", name="counts_when_final"),
    Index("ix_batches_project", "project_id", "id"),
    Index("ix_batches_open", "project_id", postgresql_where=text(f"NOT {_one_of('status', BATCH_FINAL)}")),
    Index("uq_batches_retried_from", "retried_from", unique=True, postgresql_where=text("retried_from IS NOT NULL")),
    Index("ix_batches_retention", "created_at", postgresql_where=text(_one_of("status", BATCH_FINAL))),
)

batch_events = Table(
    "batch_events",
    metadata,
    Column("seq", BigInteger, Identity(always=True), primary_key=True),
    Column("id", Text, nullable=False, unique=True, server_default=_EVENT_ID),
    Column("batch_id", Text, ForeignKey("batches.id", ondelete="CASCADE"), nullable=False),
    Column("type", Text, nullable=False),
    Column("data", JSONB, nullable=False, server_default=text("'{}'")),
    Column("created_at", Time, nullable=False, server_default=NOW),
    Index("ix_batch_events_batch", "batch_id", "seq"),
)
Index(
    "uq_batch_events_final",
    batch_events.c.batch_id,
    unique=True,
    postgresql_where=text(_one_of("type", tuple(f"batch.{status}" for status in BATCH_FINAL))),
)

files = Table(
    "files",
    metadata,
    Column("id", Text, primary_key=True),
    Column("project_id", Text, ForeignKey("projects.id"), nullable=False),
    Column("purpose", Text, nullable=False),
    Column("filename", Text, nullable=False),
    Column("bytes", BigInteger, nullable=False),
    Column("storage_key", Text, nullable=False, unique=True),
    Column("created_at", Time, nullable=False, server_default=NOW),
    Column("expires_at", Time, comment="deleted then; null: kept until its owner deletes it"),
    CheckConstraint(_one_of("purpose", FILE_PURPOSES), name="purpose"),
    Index("ix_files_project", "project_id", "id"),
    Index("ix_files_expiry", "expires_at", postgresql_where=text("expires_at IS NOT NULL")),
)

provider_calls = Table(
    "provider_calls",
    metadata,
    Column("id", Text, primary_key=True),
    Column("project_id", Text, ForeignKey("projects.id"), nullable=False),
    Column("job_id", Text, nullable=False, comment="no foreign key: what was paid for outlives its job"),
    Column("attempt", Integer, nullable=False),
    Column("lease", Uuid, nullable=False, comment="the attempt's token"),
    Column("worker", Text, nullable=False),
    Column("queue", Text, nullable=False, comment="the provider's limits and failures concern all calls of a queue"),
    Column("model", Text, nullable=False),
    Column("n", SmallInteger, nullable=False, comment="pictures asked for"),
    Column("request_hash", LargeBinary, nullable=False, comment="SHA-256 of what was sent"),
    Column("started_at", Time, nullable=False, server_default=NOW),
    # How it ended; nothing of it is known while the call is under way
    Column("closed_at", Time),
    Column("outcome", Text),
    Column("error_code", Text),
    Column("http_status", SmallInteger),
    Column("provider_request_id", Text),
    Column("usage", JSONB, comment="as the provider counts it"),
    Column("cost_usd", Numeric(12, 6), comment="null: not known, or nothing"),
    Column("retry_at", Time, comment="the provider wants no call before"),
    CheckConstraint(_one_of("outcome", tuple(CallOutcome)), name="outcome"),
    CheckConstraint("(outcome IS NULL) = (closed_at IS NULL)", name="outcome_when_closed"),
    Index("ix_provider_calls_job", "job_id", "started_at"),
    Index("ix_provider_calls_queue", "queue", "closed_at"),
    Index("ix_provider_calls_retry", "queue", "retry_at", postgresql_where=text("retry_at IS NOT NULL")),
    Index("uq_provider_calls_open", "job_id", unique=True, postgresql_where=text("outcome IS NULL")),
)

webhook_endpoints = Table(
    "webhook_endpoints",
    metadata,
    Column("id", Text, primary_key=True),
    Column("project_id", Text, ForeignKey("projects.id"), nullable=False),
    Column("name", Text, nullable=False),
    Column("url", Text, nullable=False),
    Column("event_types", JSONB, nullable=False, comment="which events it wants"),
    Column("secret", Text, nullable=False, comment="signs; in clear, as no hash could"),
    Column("previous_secret", Text, comment="signs too, until the time below"),
    Column("previous_secret_until", Time),
    Column("failing_since", Time, comment="nothing has got through since then; null: the last delivery did"),
    Column("disabled_at", Time),
    Column("disabled_reason", Text),
    Column("created_at", Time, nullable=False, server_default=NOW),
    Column("updated_at", Time, nullable=False, server_default=NOW),
    CheckConstraint("(disabled_at IS NULL) = (disabled_reason IS NULL)", name="reason_when_disabled"),
    Index("ix_webhook_endpoints_project", "project_id", "id"),
)

webhook_deliveries = Table(
    "webhook_deliveries",
    metadata,
    Column(
        "id",
        Text,
        primary_key=True,
        server_default=text(
            "'whd_' || lpad(to_hex((extract(epoch FROM clock_timestamp()) * 1000)::bigint), 12, '0')"
            " || left(replace(gen_random_uuid()::text, '-', ''), 20)"
        ),
    ),
    Column("seq", BigInteger, Identity(always=True), nullable=False, comment="the order of a job's events"),
    Column("project_id", Text, nullable=False, comment="its job's or batch's"),
    Column("job_id", Text, ForeignKey("jobs.id", ondelete="CASCADE")),
    Column("batch_id", Text, ForeignKey("batches.id", ondelete="CASCADE"), comment="of an event about a batch"),
    Column(
        "endpoint_id",
        Text,
        comment="null: the job's own receiver. No foreign key: an endpoint deleted just now must not stop a job",
    ),
    Column("lane", Text, nullable=False, comment="what takes turns: the endpoint, or the origin of a job's own URL"),
    Column("event_id", Text, nullable=False),
    Column("event_type", Text, nullable=False),
    Column("event_at", Time, nullable=False),
    Column("status", Text, nullable=False, server_default=text("'pending'")),
    Column("attempts", Integer, nullable=False, server_default=text("0")),
    Column("due_at", Time, nullable=False, server_default=NOW, comment="of one being sent: when it is due again"),
    Column("lease", Uuid, comment="the token of who sends it"),
    Column("status_code", SmallInteger, comment="of the latest attempt"),
    Column("error_code", Text, comment="of the latest attempt"),
    Column("created_at", Time, nullable=False, server_default=NOW),
    Column("finished_at", Time),
    CheckConstraint(_one_of("status", tuple(DeliveryStatus)), name="status"),
    CheckConstraint("(status = 'pending') = (finished_at IS NULL)", name="finished_when_final"),
    CheckConstraint("lease IS NULL OR status = 'pending'", name="lease_while_pending"),
    CheckConstraint("(job_id IS NULL) <> (batch_id IS NULL)", name="of_a_job_or_a_batch"),
    Index("ix_webhook_deliveries_lane", "lane", "due_at", postgresql_where=text("status = 'pending'")),
    Index("ix_webhook_deliveries_sending", "lane", postgresql_where=text("lease IS NOT NULL")),
    Index("ix_webhook_deliveries_job", "job_id", "lane", "seq"),
    Index("ix_webhook_deliveries_batch", "batch_id", postgresql_where=text("batch_id IS NOT NULL")),
    Index("ix_webhook_deliveries_endpoint", "endpoint_id", "id", postgresql_where=text("endpoint_id IS NOT NULL")),
)

webhook_attempts = Table(
    "webhook_attempts",
    metadata,
    Column("delivery_id", Text, ForeignKey("webhook_deliveries.id", ondelete="CASCADE"), primary_key=True),
    Column("number", Integer, primary_key=True, autoincrement=False),
    Column("started_at", Time, nullable=False),
    Column("seconds", Double, nullable=False),
    Column("status_code", SmallInteger, comment="null: no answer came"),
    Column("error_code", Text),
    Column("answer", Text, comment="the beginning of what the receiver said"),
)

idempotency_keys = Table(
    "idempotency_keys",
    metadata,
    Column("project_id", Text, ForeignKey("projects.id"), primary_key=True),
    Column("key", Text, primary_key=True),
    Column(
        "fingerprint",
        LargeBinary,
        nullable=False,
        comment="SHA-256 of method, path and the validated request",
    ),
    Column("response", JSONB, nullable=False),
    Column("created_at", Time, nullable=False, server_default=NOW),
    Column("expires_at", Time, nullable=False),
    Index("ix_idempotency_keys_expires_at", "expires_at"),
)
