"""Priority of a job: among all projects up to a maximum, beyond it only among the jobs of its own project.

A request's `priority` is divided in two. `jobs.priority` is the part up to `SAFELIGHT_MAX_PRIORITY`; it decides the
precedence (`core.fairness`). `jobs.project_priority` is the rest: 0 for most jobs.

The jobs of a flow (one project, one precedence, one queue) have ranks, which are the flow's places in the queue. A new
job with a project priority takes the place of the first job of its flow with a lower one, and the jobs from there on
stand back by its cost. So the flow as a whole has the ranks that it would have had if the new job had come at its end:
other projects are not affected.

At most PLACES jobs stand back for each new job. If there are more, the last of these PLACES jobs go to the end of the
flow, as many as make room for the cost of the new job, and the jobs behind them keep their ranks. So a submit costs the
same however long the queue is.
"""

from collections.abc import Sequence

import sqlalchemy as sa

from core import fairness
from core.clock import NOW
from core.db import Statement
from core.status import JobStatus
from core.tables import equals_in_order, in_status, jobs

PLACES = 100
"""Jobs of a project that keep their order when a more urgent job of the project comes before them."""

Value = sa.ColumnElement[str] | str
Number = sa.ColumnElement[int] | int


def among_projects(priority: int, max_priority: int) -> int:
    """The part of a priority that counts among the jobs of all projects."""
    return min(priority, max_priority)


def within_project(priority: int, max_priority: int) -> int:
    """The part of a priority that counts only among the jobs of the same project; at least 0."""
    return max(priority - max_priority, 0)


def select_start(
    queue: str, project_id: str, priority: int, project_priority: int, *, cost: float, count: int
) -> Statement[float]:
    """The start of `count` new jobs of a batch, which cost `cost` device-seconds together, as `fairness.select_start`.

    With a project priority, it also makes room for them. Run it in the transaction that inserts the jobs.
    """
    if project_priority == 0:
        return fairness.select_start(queue, project_id, priority, batch=True)
    job_precedence = fairness.precedence(priority, batch=True)
    start, room = make_room(queue, project_id, job_precedence, project_priority, cost=cost, limit=PLACES + count)
    return Statement(sa.select(start).add_cte(room), float)


def make_room(
    queue: Value,
    project_id: Value,
    job_precedence: Number,
    project_priority: Number,
    *,
    cost: sa.ColumnElement[float] | float,
    limit: int,
) -> tuple[sa.ColumnElement[float], sa.CTE]:
    """The start of new jobs with a project priority, and the update that makes room for them.

    cost: device-seconds of the new jobs together. limit: the number of jobs that may stand back.
    """
    of_flow = (
        jobs.c.queue == queue,
        equals_in_order(jobs.c.project_id, project_id),
        equals_in_order(jobs.c.precedence, job_precedence),
        in_status(JobStatus.QUEUED),
    )
    behind = _jobs_behind(of_flow, project_priority, limit)
    end = sa.select(fairness.start(queue, project_id, job_precedence).label("rank")).cte("flow_end")
    end_rank = sa.select(end.c.rank).scalar_subquery()
    ranks = _ranks_behind(behind, end_rank, cost, limit)
    room = sa.update(jobs).where(jobs.c.id == ranks.c.id).values(fair_rank=ranks.c.fair_rank).cte("room")
    first = sa.select(behind.c.fair_rank - behind.c.cost).order_by(behind.c.fair_rank).limit(1).scalar_subquery()
    return sa.func.coalesce(first, end_rank), room


def _jobs_behind(of_flow: Sequence[sa.ColumnElement[bool]], project_priority: Number, limit: int) -> sa.CTE:
    """The jobs of a flow that stand back for new ones: from the first with a lower project priority on. Locks them."""
    # Ordered by all columns of the index, so that the planner chooses it (`tables.equals_in_order`).
    order = (jobs.c.project_id, jobs.c.precedence)
    last_of_its_like = (
        sa.select(jobs.c.fair_rank)
        .where(*of_flow, sa.literal_column("project_priority > 0"), jobs.c.project_priority >= project_priority)
        .order_by(*order, jobs.c.project_priority, jobs.c.fair_rank.desc())
        .limit(1)
        .scalar_subquery()
    )
    return (
        sa.select(jobs.c.id, jobs.c.cost, jobs.c.fair_rank)
        .where(
            *of_flow,
            jobs.c.project_priority < project_priority,
            jobs.c.not_before <= NOW,
            jobs.c.fair_rank > sa.func.coalesce(last_of_its_like, -1.0),
        )
        .order_by(*order, jobs.c.fair_rank)
        .limit(limit)
        .with_for_update()
        .cte("behind")
        .prefix_with("MATERIALIZED", dialect="postgresql")
    )


def _ranks_behind(
    behind: sa.CTE, end_rank: sa.ColumnElement[float], cost: sa.ColumnElement[float] | float, limit: int
) -> sa.Subquery:
    """The new rank of each job that stands back: later by the cost of the new jobs, or at the end of the flow."""
    last_first = (behind.c.fair_rank.desc(), behind.c.id.desc())
    with_totals = sa.select(
        behind.c.id,
        behind.c.cost,
        behind.c.fair_rank,
        (sa.func.sum(behind.c.cost).over(order_by=last_first) - behind.c.cost).label("cost_after"),
        sa.func.count().over().label("total"),
    ).subquery("with_totals")
    goes_to_end = sa.and_(with_totals.c.total == limit, with_totals.c.cost_after < cost)
    cost_at_end = sa.func.sum(with_totals.c.cost).over(
        partition_by=goes_to_end, order_by=(with_totals.c.fair_rank, with_totals.c.id)
    )
    return sa.select(
        with_totals.c.id,
        sa.case((goes_to_end, end_rank + cost_at_end), else_=with_totals.c.fair_rank + cost).label("fair_rank"),
    ).subquery("ranks")
