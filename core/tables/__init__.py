"""The database's tables. A row is the truth; everything else may be lost.

The migrations in `migrations/versions` create them; a test compares the two. Times are the database's
(`clock_timestamp()`), and CHECK constraints hold what no code path may break.
"""

from core.tables.audit import audit_events
from core.tables.base import metadata
from core.tables.batches import batch_events, batches
from core.tables.erasures import ERASURE_KINDS, erasures
from core.tables.files import FILE_PURPOSES, files
from core.tables.fine_tuning import fine_tuned_models, fine_tuning_events, fine_tuning_jobs
from core.tables.idempotency_keys import idempotency_keys
from core.tables.jobs import (
    BATCH_PRECEDENCE,
    JOB_COLUMNS,
    LEGACY_COLUMNS,
    equals_in_order,
    images,
    in_status,
    job_events,
    jobs,
    legacy_values,
)
from core.tables.paid_images import paid_images
from core.tables.pauses import pauses
from core.tables.projects import DEFAULT_PROJECT, api_keys, projects
from core.tables.provider_calls import provider_calls
from core.tables.usage import limit_use, limits, storage_use, subjects_at_limit, usage_buckets, usage_entries
from core.tables.webhooks import webhook_attempts, webhook_deliveries, webhook_endpoints
from core.tables.workers import workers

KEYS = {
    column.name: column.key for table in metadata.tables.values() for column in table.c if column.name != column.key
}
"""Columns that have another name in the code. The database's name changes when no version that uses it runs."""

__all__ = [
    "BATCH_PRECEDENCE",
    "DEFAULT_PROJECT",
    "ERASURE_KINDS",
    "FILE_PURPOSES",
    "JOB_COLUMNS",
    "KEYS",
    "LEGACY_COLUMNS",
    "api_keys",
    "audit_events",
    "batch_events",
    "batches",
    "equals_in_order",
    "erasures",
    "files",
    "fine_tuned_models",
    "fine_tuning_events",
    "fine_tuning_jobs",
    "idempotency_keys",
    "images",
    "in_status",
    "job_events",
    "jobs",
    "legacy_values",
    "limit_use",
    "limits",
    "metadata",
    "paid_images",
    "pauses",
    "projects",
    "provider_calls",
    "storage_use",
    "subjects_at_limit",
    "usage_buckets",
    "usage_entries",
    "webhook_attempts",
    "webhook_deliveries",
    "webhook_endpoints",
    "workers",
]
