"""What jobs used: images, bytes, device-seconds and the cost at providers, per project, key, model and time.

The verb that ends a job appends an entry, in the same statement. Nothing is updated, so jobs that end at the same time
do not wait for each other. The sweep adds the entries up to buckets of a minute, and later to buckets of an hour. The
queries read buckets and entries, so they miss nothing, and both stay when jobs are deleted.

The device-seconds of a completed job are its share of its micro-batch and the CPU-seconds of filters and encoding,
from the receipt of its images. Those of a job
that failed or was cancelled while it ran are the seconds since it started, up to its estimate. Those of a training are
the seconds for which workers trained it: `core/fine_tuning/transitions.py`.
"""

from collections.abc import Collection, Sequence
from datetime import datetime, timedelta
from typing import Any, Literal

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import ARRAY, insert

from core.clock import STATEMENT_TIME
from core.db import Statement
from core.rows.usage import UsageBucket
from core.status import FINAL
from core.tables import fine_tuned_models, in_status, provider_calls, usage_buckets, usage_entries

MINUTE, HOUR = 60, 3600

Dimension = Literal["project_id", "api_key_id", "model", "operation", "size"]
"""What usage can be grouped by."""

DIMENSIONS: tuple[Dimension, ...] = ("project_id", "api_key_id", "model", "operation", "size")
TRAINING = "fine_tuning"
"""The operation of trainings."""

AMOUNTS = ("jobs", "images", "bytes", "device_seconds", "cost_usd")


def with_images(updated_jobs: sa.CTE, images: sa.FromClause) -> sa.CTE:
    """The entries of jobs that completed with these images."""
    receipt = images.c.receipt
    share = sa.cast(receipt["device_seconds"].astext, sa.Double) / sa.cast(receipt["microbatch"].astext, sa.Double)
    share = share + sa.func.coalesce(sa.cast(receipt["processing_seconds"].astext, sa.Double), 0.0)
    of_images = (
        sa.select(
            sa.func.count().label("images"),
            sa.func.coalesce(sa.func.sum(images.c.bytes), 0).label("bytes"),
            sa.func.coalesce(sa.func.sum(share), 0.0).label("device_seconds"),
        )
        .where(images.c.job_id == updated_jobs.c.id)
        .correlate(updated_jobs)
        .lateral("of_images")
    )
    source = sa.join(updated_jobs, of_images, sa.true())
    return _insert_entries(updated_jobs, source, of_images.c.images, of_images.c.bytes, of_images.c.device_seconds)


def without_images(updated_jobs: sa.CTE) -> sa.CTE:
    """The entries of those jobs that ended without images after they had started."""
    elapsed = sa.cast(sa.extract("epoch", updated_jobs.c.finished_at - updated_jobs.c.started_at), sa.Double)
    at_provider = sa.exists().where(provider_calls.c.job_id == updated_jobs.c.id)
    seconds = sa.case((at_provider, 0.0), else_=sa.func.least(elapsed, updated_jobs.c.cost))
    return _insert_entries(updated_jobs, updated_jobs, sa.literal(0), sa.literal(0), seconds)


def of_trainings(updated_jobs: sa.CTE, model_bytes: int = 0) -> sa.CTE:
    """The entries of those fine-tuning jobs that ended after they had started.

    model_bytes: of the model that the same statement inserts.
    """
    job, models = updated_jobs.c, fine_tuned_models.c
    side = job.hyperparameters["resolution"].astext
    checkpoint_bytes = (
        sa.select(sa.func.coalesce(sa.func.sum(models.bytes), 0))
        .where(models.fine_tuning_job_id == job.id)
        .correlate(updated_jobs)
        .scalar_subquery()
    )
    values = {
        "project_id": job.project_id,
        "api_key_id": sa.func.coalesce(job.api_key_id, ""),
        "model": job.model,
        "operation": sa.literal(TRAINING),
        "size": sa.func.coalesce(side + "x" + side, ""),
        "images": sa.literal(0),
        "bytes": sa.cast(checkpoint_bytes, sa.BigInteger) + model_bytes,
        "device_seconds": job.device_seconds,
        "cost_usd": sa.literal(0),
    }
    rows = sa.select(*values.values()).select_from(updated_jobs).where(job.started_at.is_not(None))
    return sa.insert(usage_entries).from_select(list(values), rows).cte("usage_entry")


def _insert_entries(
    updated_jobs: sa.CTE,
    source: sa.FromClause,
    images: sa.ColumnElement[int],
    size: sa.ColumnElement[int],
    device_seconds: sa.ColumnElement[float],
) -> sa.CTE:
    job = updated_jobs.c
    cost = sa.select(sa.func.sum(provider_calls.c.cost_usd)).where(provider_calls.c.job_id == job.id).scalar_subquery()
    values = {
        "project_id": job.project_id,
        "api_key_id": sa.func.coalesce(job.api_key_id, ""),
        "model": job.model,
        "operation": job.operation,
        "size": job.parameters["size"].astext,
        "images": images,
        "bytes": size,
        "device_seconds": device_seconds,
        "cost_usd": sa.func.coalesce(cost, 0),
    }
    rows = sa.select(*values.values()).select_from(source)
    has_used = in_status(*FINAL, of=updated_jobs), job.started_at.is_not(None)
    return sa.insert(usage_entries).from_select(list(values), rows.where(*has_used)).cte("usage_entry")


def add_up(limit: int) -> Statement[int]:
    """Move up to `limit` entries to the buckets of their minutes. Returns a row for each bucket."""
    pick = (
        sa.select(usage_entries.c.seq)
        .order_by(usage_entries.c.seq)
        .limit(limit)
        .with_for_update(skip_locked=True)
        .cte("pick")
        .prefix_with("MATERIALIZED")
    )
    entries = (
        sa.delete(usage_entries)
        .where(usage_entries.c.seq == pick.c.seq)
        .returning(*usage_entries.c, sa.literal(1).label("jobs"))
        .cte("entries")
    )
    return _add_to_buckets(entries, "minute", entries.c.created_at, MINUTE)


def merge_minutes(age: timedelta, limit: int) -> Statement[int]:
    """Move up to `limit` buckets of minutes that are older than `age` to those of their hours."""
    minutes = usage_buckets.alias("minutes")
    key = [column.name for column in usage_buckets.primary_key]
    old = (
        sa.select(*(minutes.c[name] for name in key))
        .where(minutes.c.seconds == MINUTE, minutes.c.started_at < STATEMENT_TIME - age)
        .order_by(minutes.c.started_at)
        .limit(limit)
        .with_for_update(skip_locked=True)
        .cte("old")
        .prefix_with("MATERIALIZED")
    )
    old_rows = (
        sa.delete(usage_buckets)
        .where(*(usage_buckets.c[name] == old.c[name] for name in key))
        .returning(*usage_buckets.c)
        .cte("old_rows")
    )
    return _add_to_buckets(old_rows, "hour", old_rows.c.started_at, HOUR)


def _add_to_buckets(rows: sa.CTE, unit: str, time: sa.ColumnElement[datetime], seconds: int) -> Statement[int]:
    keys = [sa.func.date_trunc(unit, time, "UTC").label("started_at"), *(rows.c[name] for name in DIMENSIONS)]
    totals = (
        sa.select(*keys, *(sa.func.sum(rows.c[name]).label(name) for name in AMOUNTS))
        .group_by(*keys)
        .order_by(*keys)  # so that two statements lock the buckets in one order
        .subquery("totals")
    )
    new = insert(usage_buckets).from_select(
        [*(column.name for column in totals.c), "seconds"], sa.select(totals, sa.literal(seconds))
    )
    sums = {name: usage_buckets.c[name] + new.excluded[name] for name in AMOUNTS}
    upsert = new.on_conflict_do_update(index_elements=[*usage_buckets.primary_key], set_=sums)
    return Statement(upsert.returning(sa.literal(1)), int)


def _all_usage() -> sa.CompoundSelect[Any]:
    """Buckets and entries as one table."""
    entry = usage_entries.c
    entries = sa.select(
        entry.created_at.label("started_at"),
        *(entry[name] for name in DIMENSIONS),
        sa.literal(1, sa.BigInteger).label("jobs"),
        *(entry[name] for name in AMOUNTS[1:]),
    )
    bucket = usage_buckets.c
    return sa.union_all(sa.select(bucket.started_at, *(bucket[name] for name in (*DIMENSIONS, *AMOUNTS))), entries)


def list_usage(
    start: datetime,
    end: datetime,
    width: timedelta,
    *,
    group_by: Sequence[Dimension] = (),
    project_ids: Collection[str] = (),
    api_key_ids: Collection[str] = (),
    models: Collection[str] = (),
    limit: int,
) -> Statement[UsageBucket]:
    """What was used from `start` to before `end`, in buckets of `width` counted from `start`.

    A bucket without usage has no row. project_ids, api_key_ids, models: only these; empty: all.
    """
    usage = _all_usage().subquery("usage")
    bucket = sa.func.date_bin(width, usage.c.started_at, sa.literal(start, sa.DateTime(timezone=True)))
    conditions = [usage.c.started_at >= start, usage.c.started_at < end]
    for name, values in (("project_id", project_ids), ("api_key_id", api_key_ids), ("model", models)):
        if values:
            conditions.append(usage.c[name] == sa.any_(sa.literal(list(values), ARRAY(sa.Text))))
    names = [name for name in DIMENSIONS if name in group_by]
    dimensions = [usage.c[name] if name in names else sa.null().label(name) for name in DIMENSIONS]
    keys = [bucket, *(usage.c[name] for name in names)]
    return Statement(
        sa.select(
            bucket.label("started_at"),
            *dimensions,
            *(sa.cast(sa.func.sum(usage.c[name]), _TYPES[name]).label(name) for name in AMOUNTS),
        )
        .where(*conditions)
        .group_by(*keys)
        .order_by(*keys)
        .limit(limit),
        UsageBucket,
    )


_TYPES: dict[str, Any] = {
    "jobs": sa.BigInteger,
    "images": sa.BigInteger,
    "bytes": sa.BigInteger,
    "device_seconds": sa.Double,
    "cost_usd": sa.Double,
}
