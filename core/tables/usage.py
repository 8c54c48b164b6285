"""What jobs used, per project, key and model; what projects store; and the limits of projects and keys."""

from sqlalchemy import (
    BigInteger,
    Column,
    Date,
    Double,
    Identity,
    Index,
    Integer,
    Numeric,
    SmallInteger,
    Table,
    Text,
    text,
)

from core.tables.base import NOW, Time, metadata

# Entries are only appended, so that jobs that end at the same time never wait for each other. The sweep adds them up.
usage_entries = Table(
    "usage_entries",
    metadata,
    Column("seq", BigInteger, Identity(always=True), primary_key=True),
    Column("created_at", Time, nullable=False, server_default=NOW, comment="when the job ended"),
    Column("project_id", Text, nullable=False),
    Column("api_key_id", Text, nullable=False, comment="empty: no key was needed"),
    Column("model", Text, nullable=False),
    Column("operation", Text, nullable=False),
    Column("size", Text, nullable=False),
    Column("images", Integer, nullable=False),
    Column("bytes", BigInteger, nullable=False, comment="of the images"),
    Column("device_seconds", Double, nullable=False),
    Column("cost_usd", Numeric(12, 6), nullable=False, comment="what a provider charged"),
)

# No foreign keys: usage outlives what it is about.
usage_buckets = Table(
    "usage_buckets",
    metadata,
    Column("project_id", Text, primary_key=True),
    Column("started_at", Time, primary_key=True, comment="the beginning of the minute or hour"),
    Column("seconds", SmallInteger, primary_key=True, autoincrement=False, comment="60 or 3600"),
    Column("api_key_id", Text, primary_key=True),
    Column("model", Text, primary_key=True),
    Column("operation", Text, primary_key=True),
    Column("size", Text, primary_key=True),
    Column("jobs", BigInteger, nullable=False, comment="that ended after they had started"),
    Column("images", BigInteger, nullable=False),
    Column("bytes", BigInteger, nullable=False),
    Column("device_seconds", Double, nullable=False),
    Column("cost_usd", Numeric(16, 6), nullable=False),
    Index("ix_usage_buckets_time", "started_at"),
)

# A limit that is null is that of the settings; a negative one is none. Keys have only the limits that are here.
limits = Table(
    "limits",
    metadata,
    Column("subject_id", Text, primary_key=True, comment="a project or an API key"),
    Column("requests_per_minute", Integer),
    Column("jobs", Integer, comment="queued and running at once"),
    Column("stored_bytes", BigInteger),
    Column("device_seconds_per_day", Double),
    Column("provider_usd_per_month", Double),
    Column("running_jobs", Integer, comment="in progress at once"),
    Column("images_per_minute", Integer),
)

# Those that have as many jobs in progress as they may; written by the claims of workers (core/running_limits.py).
subjects_at_limit = Table(
    "subjects_at_limit",
    metadata,
    Column("subject_id", Text, primary_key=True, comment="a project or an API key"),
    Column("until", Time, nullable=False, comment="a claim renews it while it is true"),
)

# A row for each project or key whose submits are counted. Only they wait for each other.
limit_use = Table(
    "limit_use",
    metadata,
    Column("subject_id", Text, primary_key=True),
    Column("project_id", Text, nullable=False),
    Column("day", Date, nullable=False, comment="UTC; what is used belongs to this day and its month"),
    Column("jobs", Integer, nullable=False, server_default=text("0"), comment="at most these are queued or running"),
    Column("stored_bytes", BigInteger, nullable=False, server_default=text("0")),
    Column("device_seconds", Double, nullable=False, server_default=text("0"), comment="used and reserved today"),
    Column("provider_usd", Double, nullable=False, server_default=text("0"), comment="used and reserved this month"),
    Column("counted_at", Time, nullable=False, server_default=NOW, comment="when it was last counted from the rows"),
    postgresql_with={"fillfactor": "50"},
)

# A row for each project, which the sweep replaces when it has counted all images, files and models.
storage_use = Table(
    "storage_use",
    metadata,
    Column("project_id", Text, primary_key=True),
    Column("images", BigInteger, nullable=False),
    Column("image_bytes", BigInteger, nullable=False),
    Column("files", BigInteger, nullable=False),
    Column("file_bytes", BigInteger, nullable=False),
    Column("models", BigInteger, nullable=False, server_default=text("0"), comment="fine-tuned, with checkpoints"),
    Column("model_bytes", BigInteger, nullable=False, server_default=text("0")),
    Column("counted_at", Time, nullable=False, server_default=NOW),
)
