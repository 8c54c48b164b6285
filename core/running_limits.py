"""The limit of running jobs: how many jobs of a project, and of an API key, may be in progress at once.

A claim takes no job of a project or key that has as many in progress as it may; their jobs wait where they are, and
others are claimed around them in fair order. A claim within limits counts what is in progress, so it needs a lock that
no other such claim has at that time (`lock`): then no number of workers exceeds a limit. Claims do without it while
nobody has such a limit (`first_with_limit`).

Jobs that wait for their limit are passed over, but never read through: a claim looks at NEAR_JOBS at the head of the
queue, and if all of these must wait, at the first jobs of each project. Claims store who is at the limit, so that the
clock of the queue passes over the same jobs (`core.fairness`).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert

from core.clock import NOW, STATEMENT_TIME
from core.db import Statement
from core.status import JobStatus
from core.tables import in_status, jobs, limits, subjects_at_limit

NEAR_JOBS = 200
"""Jobs at the head of a queue, or of a project in it, among which a claim looks for one that may run."""

MAX_PROJECTS = 10_000
"""Projects in a queue whose first jobs a claim looks at, if all jobs at the head of the queue must wait."""

VALIDITY = timedelta(minutes=1)
"""How long it counts that somebody is at the limit, if no claim says it again."""

LOCK_SECONDS = 3
"""How long a worker may have the lock without a claim: all others wait for it."""

Order = Sequence[sa.ColumnElement[Any]]


def first_with_limit() -> Statement[str]:
    """The id of a project or key that has a limit of its own. No row: none has."""
    return Statement(sa.select(limits.c.subject_id).where(limits.c.running_jobs >= 0).limit(1), str)


def lock() -> sa.Select[Any]:
    """Make other claims within limits wait until the transaction ends. To be executed before the claim.

    If the worker is frozen or cut off before its claim, Postgres ends the transaction after LOCK_SECONDS.
    """
    timeout = sa.func.set_config("idle_in_transaction_session_timeout", f"{LOCK_SECONDS}s", sa.true())
    return sa.select(timeout, sa.func.pg_advisory_xact_lock(sa.func.hashtextextended("running jobs", 0)))


def count_running(project_id: str, key_id: str | None) -> Statement[int]:
    """The number of jobs of a project, or of one of its keys, that are in progress."""
    of_subject = jobs.c.project_id == project_id if key_id is None else jobs.c.api_key_id == key_id
    is_running = in_status(JobStatus.IN_PROGRESS)
    return Statement(sa.select(sa.func.count()).select_from(jobs).where(is_running, of_subject), int)


def is_not_at_limit(job: Any) -> sa.ColumnElement[bool]:
    """Whether a job does not wait for its limit, as the last claims said. job: columns of `jobs`."""
    return _is_of_none(job, sa.select(subjects_at_limit.c.subject_id).where(subjects_at_limit.c.until > STATEMENT_TIME))


def _is_of_none(job: Any, subject_ids: sa.Select[Any]) -> sa.ColumnElement[bool]:
    is_free = job.project_id.not_in(subject_ids)
    return sa.and_(is_free, sa.func.coalesce(job.api_key_id, "").not_in(subject_ids))


@dataclass(frozen=True, slots=True)
class RunningJobs:
    """The jobs in progress by project and key, as a part of a claim. Binds `default_limit`, that of the settings."""

    counts: sa.CTE
    at_limit: sa.CTE

    @classmethod
    def of_statement(cls) -> "RunningJobs":
        """For a new statement."""
        counts = (
            sa.select(jobs.c.project_id, jobs.c.api_key_id, sa.func.count().label("jobs"))
            .where(in_status(JobStatus.IN_PROGRESS))
            .group_by(jobs.c.project_id, jobs.c.api_key_id)
            .cte("running_jobs")
            .prefix_with("MATERIALIZED", dialect="postgresql")
        )
        total = sa.func.sum(counts.c.jobs).label("jobs")
        projects = sa.select(counts.c.project_id.label("subject_id"), _DEFAULT_LIMIT.label("default_limit"), total)
        keys = sa.select(counts.c.api_key_id, sa.null(), total).where(counts.c.api_key_id.is_not(None))
        subjects = sa.union_all(projects.group_by(counts.c.project_id), keys.group_by(counts.c.api_key_id)).subquery(
            "subjects"
        )
        maximum = _own_or(limits.c.running_jobs, subjects.c.default_limit)
        at_limit = (
            sa.select(subjects.c.subject_id)
            .outerjoin(limits, limits.c.subject_id == subjects.c.subject_id)
            .where(maximum <= subjects.c.jobs)
            .cte("at_limit")
            .prefix_with("MATERIALIZED", dialect="postgresql")
        )
        return cls(counts, at_limit)

    def changes(self) -> tuple[sa.CTE, sa.CTE]:
        """What stores who is at the limit, for `is_not_at_limit`."""
        stored = subjects_at_limit
        new = insert(stored).from_select(["subject_id", "until"], sa.select(self.at_limit.c.subject_id, NOW + VALIDITY))
        is_due = stored.c.until < NOW + VALIDITY / 2
        upsert = new.on_conflict_do_update(
            index_elements=["subject_id"], set_={"until": new.excluded.until}, where=is_due
        )
        old = sa.delete(stored).where(stored.c.subject_id.not_in(sa.select(self.at_limit.c.subject_id)))
        return upsert.cte("new_at_limit"), old.cte("old_at_limit")

    def claimable_jobs(self, waits: sa.ColumnElement[bool], order: Order, queue: sa.ColumnElement[str]) -> sa.CTE:
        """The first jobs of a queue that may run: at most NEAR_JOBS. waits: whether a job waits in this queue."""
        near = sa.select(*_COLUMNS).where(waits).order_by(*order).limit(NEAR_JOBS).cte("near_in_queue")
        at_limit = sa.select(self.at_limit.c.subject_id)
        near_claimable = (
            sa.select(near.c.id, near.c.precedence, near.c.fair_rank)
            .where(_is_of_none(near.c, at_limit))
            .cte("claimable_near")
            .prefix_with("MATERIALIZED", dialect="postgresql")
        )
        projects = _projects_of(queue)
        near_of_project = (
            sa.select(*_COLUMNS)
            .where(waits, jobs.c.project_id == projects.c.project_id)
            .order_by(jobs.c.precedence, jobs.c.fair_rank, jobs.c.id)
            .limit(NEAR_JOBS)
            .correlate(projects)
            .subquery("near_of_project")
        )
        first = (
            sa.select(near_of_project.c.id, near_of_project.c.precedence, near_of_project.c.fair_rank)
            .where(_is_of_none(near_of_project.c, at_limit))
            .order_by(near_of_project.c.precedence, near_of_project.c.fair_rank, near_of_project.c.id)
            .limit(1)
            .lateral("first_of_project")
        )
        of_projects = (
            sa.select(first.c.id, first.c.precedence, first.c.fair_rank)
            .select_from(projects.join(first, sa.true()))
            .where(projects.c.project_id.not_in(at_limit), ~sa.exists(sa.select(near_claimable.c.id)))
        )
        return (
            sa.union_all(sa.select(near_claimable), of_projects)
            .cte("claimable_jobs")
            .prefix_with("MATERIALIZED", dialect="postgresql")
        )

    def companions(self, conditions: Sequence[sa.ColumnElement[bool]], order: Order, head: sa.CTE) -> sa.Subquery:
        """Jobs that may run beside the head and the companions before them, among the first NEAR_JOBS that could."""
        near = sa.select(*_COLUMNS).where(*conditions).order_by(*order).limit(NEAR_JOBS).cte("near_companions")
        by_key = _with_numbers(near, near.c.api_key_id)
        of_keys = (
            sa.select(by_key)
            .select_from(by_key.join(head, sa.true()))
            .where(self._fits(by_key.c.api_key_id, by_key.c.number, head.c.api_key_id, sa.null()))
            .subquery("of_keys")
        )
        by_project = _with_numbers(of_keys, of_keys.c.project_id)
        fits = self._fits(by_project.c.project_id, by_project.c.number, head.c.project_id, _DEFAULT_LIMIT)
        columns = (by_project.c.id, by_project.c.precedence, by_project.c.fair_rank)
        return sa.select(*columns).select_from(by_project.join(head, sa.true())).where(fits).subquery("permitted")

    def _fits(
        self,
        subject_id: sa.ColumnElement[Any],
        number: sa.ColumnElement[Any],
        of_head: sa.ColumnElement[Any],
        default: sa.ColumnElement[Any],
    ) -> sa.ColumnElement[bool]:
        """Whether so many jobs of a project or key may start beside those in progress and the head."""
        own = sa.select(limits.c.running_jobs).where(limits.c.subject_id == subject_id).scalar_subquery()
        maximum = _own_or(own, default)
        is_project = of_head.name == "project_id"
        column = self.counts.c.project_id if is_project else self.counts.c.api_key_id
        count = sa.select(sa.func.coalesce(sa.func.sum(self.counts.c.jobs), 0)).where(column == subject_id)
        is_of_head = sa.case((of_head == subject_id, 1), else_=0)
        return sa.or_(maximum.is_(None), count.scalar_subquery() + is_of_head + number <= maximum)


_COLUMNS = (jobs.c.id, jobs.c.precedence, jobs.c.fair_rank, jobs.c.project_id, jobs.c.api_key_id)
_DEFAULT_LIMIT = sa.cast(sa.bindparam("default_limit", type_=sa.Integer), sa.Integer)


def _own_or(own: sa.ColumnElement[Any], default: sa.ColumnElement[Any]) -> sa.ColumnElement[Any]:
    """The limit of somebody; null: none. own: the value in `limits`."""
    return sa.case((own < 0, sa.null()), else_=sa.func.coalesce(own, default))


def _with_numbers(near: sa.FromClause, subject_id: sa.ColumnElement[Any]) -> sa.Subquery:
    """Jobs with their number among those of the same project or key, in the order of the queue."""
    order = (near.c.precedence, near.c.fair_rank, near.c.id)
    columns = (near.c.id, near.c.precedence, near.c.fair_rank, near.c.project_id, near.c.api_key_id)
    number = sa.func.row_number().over(partition_by=subject_id, order_by=order).label("number")
    return sa.select(*columns, number).subquery()


def _projects_of(queue: sa.ColumnElement[str]) -> sa.CTE:
    """The projects that have jobs in a queue, by an index lookup for each."""
    in_queue = jobs.c.queue == queue, in_status(JobStatus.QUEUED, JobStatus.IN_PROGRESS)
    first = sa.select(jobs.c.project_id).where(*in_queue).order_by(jobs.c.project_id).limit(1).scalar_subquery()
    projects = sa.select(first.label("project_id"), sa.literal(1).label("number")).cte("projects", recursive=True)
    following = (
        sa.select(jobs.c.project_id)
        .where(*in_queue, jobs.c.project_id > projects.c.project_id)
        .order_by(jobs.c.project_id)
        .limit(1)
        .correlate(projects)
        .scalar_subquery()
    )
    is_in_bound = projects.c.project_id.is_not(None), projects.c.number < MAX_PROJECTS
    return projects.union_all(sa.select(following, projects.c.number + 1).where(*is_in_bound))
