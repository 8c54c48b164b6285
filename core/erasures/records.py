"""The rows of erasures: submit, read, count, finish. Each function builds one SQL statement.

An erasure is a row until nothing of its subject is left, so that any process can continue it. The name of an end user
is removed from the row at the end.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Literal

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import ARRAY

from core.clock import NOW, STATEMENT_TIME
from core.db import Statement
from core.ids import new_id
from core.tables import erasures, jobs

Kind = Literal["job", "batch", "user", "project"]

COUNT_NAMES = (
    "jobs", "images", "batches", "files", "objects", "deliveries", "idempotency_keys", "provider_calls",
    "webhook_endpoints", "fine_tuning_jobs",
)  # fmt: skip
"""What an erasure counts. `objects` are those in storage; calls to a provider lose what identifies their request."""


@dataclass(frozen=True, slots=True)
class NewErasure:
    """A request to erase. subject: the id of a job, batch or project, or the name of an end user."""

    project_id: str
    kind: Kind
    subject: str
    batch_id: str | None = None  # of a job that is deleted already
    id: str = field(default_factory=lambda: new_id("era"))


@dataclass(slots=True)
class ErasureRow:
    """An erasure."""

    id: str
    project_id: str
    kind: Kind
    subject: str | None
    batch_id: str | None
    counts: Mapping[str, int]
    created_at: datetime
    finished_at: datetime | None


def submit(new: NewErasure) -> Statement[ErasureRow]:
    """Insert an erasure."""
    batch_of_job = sa.select(jobs.c.batch_id).where(
        sa.literal(new.kind) == "job", jobs.c.id == new.subject, jobs.c.project_id == new.project_id
    )
    values = {name: getattr(new, name) for name in ("id", "project_id", "kind", "subject")}
    batch_id = sa.func.coalesce(sa.literal(new.batch_id, sa.Text), batch_of_job.scalar_subquery())
    return Statement(
        sa.insert(erasures).values(**values, batch_id=batch_id).returning(*erasures.c),
        ErasureRow,
    )


def get(project_id: str, erasure_id: str) -> Statement[ErasureRow]:
    """One erasure of a project."""
    return Statement(
        sa.select(erasures).where(erasures.c.id == erasure_id, erasures.c.project_id == project_id), ErasureRow
    )


def list_open(after: str, limit: int = 1) -> Statement[ErasureRow]:
    """Erasures that are not finished, the oldest first."""
    statement = sa.select(erasures).where(erasures.c.finished_at.is_(None), erasures.c.id > after)
    return Statement(statement.order_by(erasures.c.id).limit(limit), ErasureRow)


def count(erasure_id: str, counts: Mapping[str, int]) -> Statement[str]:
    """Add to the counts of an erasure. Part of the transaction that deletes the rows."""
    statement = sa.update(erasures).where(erasures.c.id == erasure_id).values(counts=_sum(counts))
    return Statement(statement.returning(erasures.c.id), str)


def _sum(counts: Mapping[str, int]) -> sa.ColumnElement[Any]:
    parts: list[sa.ColumnElement[Any]] = []
    for name in COUNT_NAMES:
        before = sa.func.coalesce(sa.cast(erasures.c.counts[name].astext, sa.BigInteger), 0)
        parts += [sa.literal(name), before + counts.get(name, 0)]
    return sa.func.jsonb_build_object(*parts)


def finish(erasure_id: str) -> Statement[ErasureRow]:
    """Finish an erasure. The name of a user is personal data too, and is removed."""
    is_user = erasures.c.kind == "user"
    statement = sa.update(erasures).where(erasures.c.id == erasure_id, erasures.c.finished_at.is_(None))
    values = {"finished_at": NOW, "subject": sa.case((is_user, None), else_=erasures.c.subject), "counts": _sum({})}
    return Statement(statement.values(values).returning(*erasures.c), ErasureRow)


def finish_lines(batch_id: str, job_ids: Sequence[str]) -> Statement[str]:
    """Finish the erasures of deleted jobs whose lines have been removed from the files of their batch."""
    has_job = sa.select(sa.literal(1)).where(jobs.c.id == erasures.c.subject)
    statement = sa.update(erasures).where(
        erasures.c.finished_at.is_(None),
        erasures.c.kind == "job",
        erasures.c.batch_id == batch_id,
        erasures.c.subject == sa.any_(sa.literal(list(job_ids), ARRAY(sa.Text))),
        ~has_job.correlate(erasures).exists(),
    )
    return Statement(statement.values(finished_at=NOW).returning(erasures.c.id), str)


def purge(age: timedelta, limit: int) -> Statement[str]:
    """Delete erasures that finished longer ago than `age`, `limit` at most."""
    pick = (
        sa.select(erasures.c.id)
        .where(erasures.c.finished_at <= STATEMENT_TIME - age)
        .order_by(erasures.c.finished_at)
        .limit(limit)
        .with_for_update(skip_locked=True)
        .cte("pick")
        .prefix_with("MATERIALIZED", dialect="postgresql")
    )
    return Statement(sa.delete(erasures).where(erasures.c.id == pick.c.id).returning(erasures.c.id), str)
