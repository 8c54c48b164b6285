"""Limits of projects and keys: jobs at once, stored bytes, device-seconds a day, a provider's dollars a month.

A submit reserves what it will use, in the transaction that inserts its jobs: `limit_use` has a row for each project or
key with a limit, and only the submits of that project or key wait for each other. A row is never below the truth:

- A reservation is added if it fits, with the row locked. So no number of parallel submits exceeds a limit.
- Jobs that end give nothing back. If a reservation does not fit, the row is counted again from jobs, usage, images,
  files and models, still locked, and the reservation is tried once more. The sweep counts the rows again, too, as a
  job may take longer than its estimate.

Device-seconds and dollars: what was used in this day or month (UTC), plus the estimates of the jobs that are queued or
running. Trainings count too; of one, what it has used already, if that is more than its estimate. The rows of `limits`
precede the settings. Requests per minute are counted in Redis: `core/redis/rate.py`.
"""

from collections.abc import Generator, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from datetime import date, timedelta
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import ARRAY, JSONB, insert

from core.clock import NOW, STATEMENT_TIME
from core.db import Statement
from core.errors import SafelightError
from core.limit_errors import InsufficientQuota, TooManyJobs
from core.rows.usage import LimitRow, LimitUse
from core.settings import Settings
from core.status import FINE_TUNING_FINAL, JobStatus
from core.tables import (
    files,
    fine_tuned_models,
    fine_tuning_jobs,
    images,
    in_status,
    jobs,
    limit_use,
    limits,
    usage_buckets,
    usage_entries,
)

UNLIMITED = -1
"""In a row of `limits`: none, whatever the settings say."""

MANY_JOBS = 1000
"""Of a subject with more jobs, the use is counted again once a second at most."""

TODAY = sa.cast(sa.func.timezone("UTC", STATEMENT_TIME), sa.Date)


@dataclass(frozen=True, slots=True)
class Limits:
    """The limits of a project or key. None: no limit."""

    requests_per_minute: int | None = None
    jobs: int | None = None
    stored_bytes: int | None = None
    device_seconds_per_day: float | None = None
    provider_usd_per_month: float | None = None
    running_jobs: int | None = None
    images_per_minute: int | None = None

    @property
    def has_quota(self) -> bool:
        """Whether submits must reserve."""
        return any(getattr(self, name) is not None for name in QUOTAS)


QUOTAS = ("jobs", "stored_bytes", "device_seconds_per_day", "provider_usd_per_month")
NAMES = tuple(field.name for field in fields(Limits))


@dataclass(frozen=True, slots=True)
class Subject:
    """A project or a key, and its limits."""

    id: str
    project_id: str
    limits: Limits

    @property
    def is_key(self) -> bool:
        """Whether it is a key."""
        return self.id != self.project_id


@dataclass(frozen=True, slots=True)
class Amount:
    """What a request will use. device_seconds, provider_usd: estimates."""

    jobs: int = 0
    stored_bytes: int = 0
    device_seconds: float = 0.0
    provider_usd: float = 0.0

    def __add__(self, other: "Amount") -> "Amount":
        return Amount(*(getattr(self, field.name) + getattr(other, field.name) for field in fields(Amount)))


def amount_of_jobs(count: int, cost: float, provider_usd: float | None) -> Amount:
    """What jobs will use. cost: device-seconds of all. provider_usd: price of all, None for local jobs."""
    return Amount(count, 0, cost if provider_usd is None else 0.0, provider_usd or 0.0)


def subjects_of(rows: Sequence[LimitRow], settings: Settings, project_id: str, key_id: str | None) -> list[Subject]:
    """The project and the key with their limits, from their rows and the settings. Those without a limit are left out.

    rows: of the project and the key, as `get` returns them.
    """
    own = {row.subject_id: row for row in rows}
    defaults = {name: getattr(settings, f"limit_{name}") for name in NAMES}
    subjects = [Subject(project_id, project_id, _effective(own.get(project_id), defaults))]
    if key_id is not None:
        subjects.append(Subject(key_id, project_id, _effective(own.get(key_id), {})))
    return [subject for subject in subjects if subject.limits != Limits()]


def _effective(row: LimitRow | None, defaults: Mapping[str, Any]) -> Limits:
    values = {name: None if row is None else getattr(row, name) for name in NAMES}
    values = {name: defaults.get(name) if value is None else value for name, value in values.items()}
    return Limits(**{name: None if value is not None and value < 0 else value for name, value in values.items()})


def get(subject_ids: Sequence[str]) -> Statement[LimitRow]:
    """The rows of projects and keys that have limits of their own."""
    return Statement(sa.select(limits).where(limits.c.subject_id.in_(subject_ids)), LimitRow)


def change(subject_id: str, values: Mapping[str, float | None]) -> Statement[LimitRow]:
    """Set limits of a project or key. None: that of the settings; negative: no limit."""
    new = insert(limits).values(subject_id=subject_id, **values)
    upsert = new.on_conflict_do_update(index_elements=["subject_id"], set_=dict(values) or {"subject_id": subject_id})
    return Statement(upsert.returning(*limits.c), LimitRow)


def reservation(
    subjects: Sequence[Subject], amount: Amount
) -> Generator[Statement[Any], Sequence[Any], SafelightError | None]:
    """The statements that reserve an amount for a project and its key, to be run in the transaction that uses it.

    Each is sent the rows of the statement before. The result is an error if a limit forbids it; then the transaction
    must be rolled back.
    """
    subjects = [subject for subject in subjects if subject.limits.has_quota]
    if not subjects or (yield _reserve(subjects, amount)):
        return None
    rows = yield _lock(subjects)
    uses_by_id = {use.subject_id: use for use in rows}
    for subject in subjects:
        rows = yield count_again(subject.id, subject.project_id)
        uses_by_id |= {use.subject_id: use for use in rows}
    if (yield _reserve(subjects, amount)):
        return None
    return _refusal(subjects, uses_by_id, amount)


def _reserve(subjects: Sequence[Subject], amount: Amount) -> Statement[LimitUse]:
    """Add an amount to the use of all subjects, if it fits everywhere. No row: it does not fit, or a row is missing."""
    return Statement(_RESERVE.params(**reserve_values(subjects, amount)), LimitUse)


def reserve_values(subjects: Sequence[Subject], amount: Amount) -> dict[str, Any]:
    """The values of the parameters of `reserve`."""
    return {
        "limits_of_subjects": [{"subject_id": subject.id, **asdict(subject.limits)} for subject in subjects],
        "subject_ids": [subject.id for subject in subjects],
        **{f"amount_{field.name}": getattr(amount, field.name) for field in fields(Amount)},
    }


def reserve() -> sa.CTE:
    """The update that adds an amount to the use of all subjects, without its values. No row: it does not fit."""
    array = sa.cast(sa.bindparam("limits_of_subjects", type_=JSONB), JSONB)
    columns = [sa.column(column.name, column.type) for column in limits.c]
    of_subjects = sa.func.jsonb_to_recordset(array).table_valued(*columns)
    of_subjects = of_subjects.render_derived(name="of_subjects", with_types=True)
    ids = sa.bindparam("subject_ids", type_=ARRAY(sa.Text))
    # Locked in the order of their ids, so that no two transactions wait for each other. The lock reads the newest rows.
    current_use = (
        sa.select(limit_use)
        .where(limit_use.c.subject_id == sa.any_(ids))
        .order_by(limit_use.c.subject_id)
        .with_for_update()
        .cte("current_use")
        .prefix_with("MATERIALIZED", dialect="postgresql")
    )
    new = {name: sa.bindparam(f"amount_{name}", type_=limit_use.c[name].type) for name in _LIMIT_OF}
    fits = sa.and_(
        current_use.c.day == TODAY,
        *(
            sa.or_(
                of_subjects.c[limit].is_(None), new[name] == 0, current_use.c[name] + new[name] <= of_subjects.c[limit]
            )
            for name, limit in _LIMIT_OF.items()
            if name != "stored_bytes"
        ),
        # The size of images is not known before: a job needs some space.
        sa.or_(
            of_subjects.c.stored_bytes.is_(None),
            sa.func.greatest(new["stored_bytes"], 1) + current_use.c.stored_bytes <= of_subjects.c.stored_bytes,
        ),
    )
    fitting = (
        sa.select((sa.func.count() == sa.func.cardinality(ids)).label("all_fit"))
        .select_from(sa.join(current_use, of_subjects, current_use.c.subject_id == of_subjects.c.subject_id))
        .where(fits)
        .cte("fitting")
    )
    return (
        sa.update(limit_use)
        .where(limit_use.c.subject_id == sa.any_(ids), sa.select(fitting.c.all_fit).scalar_subquery())
        .values({name: limit_use.c[name] + value for name, value in new.items()})
        .returning(*limit_use.c)
        .cte("reserved_use")
    )


_LIMIT_OF = {
    "jobs": "jobs",
    "stored_bytes": "stored_bytes",
    "device_seconds": "device_seconds_per_day",
    "provider_usd": "provider_usd_per_month",
}
"""The limit of each column of `limit_use`."""


def _lock(subjects: Sequence[Subject]) -> Statement[LimitUse]:
    """Lock the rows of subjects until the transaction ends, and insert those that are missing."""
    rows = [
        {"subject_id": subject.id, "project_id": subject.project_id}
        for subject in sorted(subjects, key=lambda subject: subject.id)
    ]
    new = insert(limit_use).values([row | {"day": sa.literal(date.min)} for row in rows])
    upsert = new.on_conflict_do_update(index_elements=["subject_id"], set_={"project_id": new.excluded.project_id})
    return Statement(upsert.returning(*limit_use.c), LimitUse)


def count_again(subject_id: str, project_id: str) -> Statement[LimitUse]:
    """Count the use of a project or key from the rows of what it has. Lock its row before, in another statement.

    No row is returned if it has many jobs and was counted within the last second.
    """
    is_key = subject_id != project_id
    alive = (
        sa.select(
            sa.func.count().label("jobs"),
            sa.func.coalesce(sa.func.sum(jobs.c.cost).filter(jobs.c.provider_usd.is_(None)), 0.0).label("seconds"),
            sa.func.coalesce(sa.func.sum(jobs.c.provider_usd), 0.0).label("usd"),
        )
        .where(
            jobs.c.project_id == project_id,
            in_status(JobStatus.QUEUED, JobStatus.IN_PROGRESS),
            *([jobs.c.api_key_id == subject_id] if is_key else []),
        )
        .cte("alive")
    )
    training = fine_tuning_jobs.c
    of_trainings = sa.select(
        sa.func.coalesce(
            sa.func.sum(sa.func.greatest(sa.func.coalesce(training.cost, 0.0), training.device_seconds)), 0.0
        )
    ).where(
        training.project_id == project_id,
        ~in_status(*FINE_TUNING_FINAL, of=fine_tuning_jobs),
        *([training.api_key_id == subject_id] if is_key else []),
    )
    day = sa.func.date_trunc("day", STATEMENT_TIME, "UTC")
    month = sa.func.date_trunc("month", STATEMENT_TIME, "UTC")

    def total(column: str, since: sa.ColumnElement[Any]) -> sa.ColumnElement[float]:
        parts = []
        for table, time in ((usage_buckets, usage_buckets.c.started_at), (usage_entries, usage_entries.c.created_at)):
            conditions = [table.c.project_id == project_id, time >= since]
            conditions += [table.c.api_key_id == subject_id] if is_key else []
            parts.append(sa.select(sa.func.coalesce(sa.func.sum(table.c[column]), 0)).where(*conditions))
        return sa.cast(parts[0].scalar_subquery() + parts[1].scalar_subquery(), sa.Double)

    is_due = sa.or_(limit_use.c.jobs <= MANY_JOBS, limit_use.c.day != TODAY, limit_use.c.counted_at < NOW - _SECOND)
    statement = (
        sa.update(limit_use)
        .where(limit_use.c.subject_id == subject_id, is_due)
        .values(
            day=TODAY,
            jobs=sa.select(alive.c.jobs).scalar_subquery(),
            device_seconds=sa.select(alive.c.seconds).scalar_subquery()
            + of_trainings.scalar_subquery()
            + total("device_seconds", day),
            provider_usd=sa.select(alive.c.usd).scalar_subquery() + total("cost_usd", month),
            stored_bytes=0 if is_key else _stored_bytes(project_id),
            counted_at=NOW,
        )
    )
    return Statement(statement.returning(*limit_use.c), LimitUse)


_SECOND = sa.literal(timedelta(seconds=1), sa.Interval)


def _stored_bytes(project_id: str) -> sa.ColumnElement[int]:
    of_images = (
        sa.select(sa.func.coalesce(sa.func.sum(images.c.bytes), 0))
        .join_from(jobs, images, images.c.job_id == jobs.c.id)
        .where(jobs.c.project_id == project_id)
    )
    of_files = sa.select(sa.func.coalesce(sa.func.sum(files.c.bytes), 0)).where(files.c.project_id == project_id)
    models = fine_tuned_models.c
    of_models = sa.select(sa.func.coalesce(sa.func.sum(models.bytes), 0)).where(models.project_id == project_id)
    selects = (of_images, of_files, of_models)
    return sa.cast(sum((select.scalar_subquery() for select in selects), sa.literal(0)), sa.BigInteger)


def lock_stale(age: timedelta) -> Statement[LimitUse]:
    """Lock the row that was counted longest ago, if that was more than `age` ago."""
    return Statement(
        sa.select(limit_use)
        .where(limit_use.c.counted_at < STATEMENT_TIME - age)
        .order_by(limit_use.c.counted_at)
        .limit(1)
        .with_for_update(skip_locked=True),
        LimitUse,
    )


def get_use(subject_ids: Sequence[str]) -> Statement[LimitUse]:
    """What projects and keys use or have reserved, as it was last counted. No row: nothing was counted yet."""
    return Statement(sa.select(limit_use).where(limit_use.c.subject_id.in_(subject_ids)), LimitUse)


def _refusal(subjects: Sequence[Subject], uses: Mapping[str, LimitUse], amount: Amount) -> SafelightError:
    """The error for a reservation that does not fit: its limit, what is used, and when that changes."""
    for subject in subjects:
        use, owner = uses[subject.id], "API key" if subject.is_key else "project"
        for name, limit_name in _LIMIT_OF.items():
            limit, demand = getattr(subject.limits, limit_name), getattr(amount, name)
            current = getattr(use, name)
            if limit is None or (demand == 0 and name != "stored_bytes") or current + max(demand, 0) < limit:
                continue
            if name != "stored_bytes" and current + demand <= limit:
                continue
            text = (
                f"This {owner} may have {_TEXTS[name].format(limit)}: {current:g} {_CURRENT[name]}, and this request "
            )
            text += f"needs {demand:g}; nothing was stored."
            return (
                TooManyJobs(f"{text} Try again when jobs have finished.")
                if name == "jobs"
                else InsufficientQuota(f"{text} {_RESETS[name]}")
            )
    return TooManyJobs("Too many jobs of this project are queued; nothing was stored. Try again in a second.")


_TEXTS = {
    "jobs": "{:g} jobs queued and running at once",
    "stored_bytes": "{:g} bytes stored",
    "device_seconds": "{:g} device-seconds a day",
    "provider_usd": "{:g} US dollars a month of providers",
}
_CURRENT = {
    "jobs": "are queued or running",
    "stored_bytes": "are stored",
    "device_seconds": "are used or reserved",
    "provider_usd": "are used or reserved",
}
_RESETS = {
    "stored_bytes": "Delete jobs or files, or fine-tuned models.",
    "device_seconds": "The limit is reset at 00:00 UTC.",
    "provider_usd": "The limit is reset at 00:00 UTC on the first day of the next month.",
}
_RESERVE = sa.select(reserve())
"""Built once, as every submit with a limit executes it."""
