"""Scheduling order: the order in which the jobs of a queue are claimed. The only module that computes it.

**Order.** The jobs of a queue are sorted by *precedence* (interactive before batch, then higher priority, as far as it
counts among projects: `core.priorities`), and within a precedence by *fair rank*. Fifteen of sixteen claims take the
first job in this order. The sixteenth takes the job with the lowest fair rank in the whole queue (`is_fair_turn`),
whatever its precedence.

**Fair rank** is the finish tag of self-clocked fair queueing (Golestani, "A self-clocked fair queueing scheme for
broadband applications", INFOCOM 1994, eq. 3), with images as packets and estimated device-seconds as bits:

    fair_rank = max(v, F) + cost

F is the last rank of the job's *flow*: the jobs of one project and one precedence in one queue. v is the virtual time
of the queue. If a project submits many jobs, each gets a higher rank than the one before. The first job of a new flow
starts at v. No state is kept: v and F are read from the queued and running jobs, by index lookups, however long the
queue is.

**Virtual time.** As in Golestani's scheme, v is the rank of the jobs on the device, with two differences. First, a
micro-batch takes compatible jobs from anywhere in the queue, so a rank on the device may be far above the ranks of the
queued jobs; the head of the queue is therefore an upper bound. Second, each precedence has its own clock. With a single
clock, a stream of urgent jobs would raise v, and new jobs of other precedences would get ranks above all jobs that
already wait. The clock of a precedence is never behind the clock of the queue:

    clock(S) = min(highest rank of S on the device, lowest rank of queued jobs in S)
    v = max(clock(the precedence), clock(the queue))

**Guarantees.**

- *Interactive before batch*: a single job waits for the micro-batch on the device, for the jobs before it in its own
  precedence, and for at most one in sixteen other claims.
- *Shares*: projects with jobs of one precedence get equal device time, however many jobs they have and whichever came
  first. While a flow waits for one of its jobs, no other flow gets more than the cost of that job and of one own job.
- *No starvation*: each claim takes the lowest rank of a precedence, and later ranks are never lower. Jobs that are
  overtaken by a higher precedence have low ranks, so they get every sixteenth claim until they have caught up. They get
  a sixteenth of the claims or their fair share, whichever is less.
- *Costs are estimates*: a flow whose jobs are all estimated at half their cost gets twice its share. The estimate is
  from the model (`seconds_per_image` of the catalogue), so the error is the same for all users of the model.
- *Cancelled jobs are not charged*: F falls when they leave the queue. The jobs behind them keep their ranks.

An earlier version used start tags (start-time fair queueing, Goyal, Vin & Cheng 1996). Many clients that each wait for
one job before they submit the next could then starve all others: every job started at v, and v did not rise. A finish
tag is above v by the cost of the job, so every finished job raises v. The decision is in
`docs/decisions/0009-fair-order.md`, the measurements are in `docs/05-performance.md`.
"""

from collections.abc import Sequence
from typing import Any, TypeVar

import sqlalchemy as sa

from core.clock import NOW
from core.db import Statement
from core.running_limits import NEAR_JOBS, is_not_at_limit
from core.status import JobStatus
from core.tables import BATCH_PRECEDENCE, equals_in_order, in_status, jobs

FAIR_TURN = 16
"""One of this many claims goes by fair rank alone: batches and low priorities keep this share of a busy device (6 %).
It is also the probability that a single job waits for one more micro-batch."""

Number = TypeVar("Number", int, sa.ColumnElement[int])


def precedence(priority: Number, *, batch: bool) -> Number:
    """The precedence of a job: lower goes first. The table computes the same for each row."""
    return (BATCH_PRECEDENCE if batch else 0) - priority


def is_fair_turn(number: int) -> bool:
    """Whether a worker's claim of this number, counted from 0 for each queue, goes by fair rank alone."""
    return number % FAIR_TURN == FAIR_TURN - 1


def start(
    queue: str | sa.ColumnElement[str],
    project_id: str | sa.ColumnElement[str],
    job_precedence: int | sa.ColumnElement[int],
) -> sa.ColumnElement[float]:
    """max(v, F): the start of a flow's next job. The rank of the job is this plus its cost.

    For several jobs in one statement, the rank of each is this plus the sum of the costs up to its own, as if they were
    submitted one after the other. job_precedence: from `precedence`.
    """
    in_queue = jobs.c.queue == queue
    same_precedence = sa.and_(in_queue, equals_in_order(jobs.c.precedence, job_precedence))
    of_flow = sa.and_(in_queue, jobs.c.project_id == project_id, jobs.c.precedence == job_precedence)
    last_rank = _rank(of_flow, in_status(JobStatus.QUEUED, JobStatus.IN_PROGRESS), order=[jobs.c.fair_rank.desc()])
    return sa.func.greatest(
        _clock(same_precedence, jobs.c.precedence, jobs.c.fair_rank), _clock(in_queue, jobs.c.fair_rank), last_rank, 0.0
    )


def select_start(queue: str, project_id: str, priority: int, *, batch: bool) -> Statement[float]:
    """`start` as a statement, for a caller that inserts many jobs of a flow and adds up the ranks itself."""
    return Statement(sa.select(start(queue, project_id, precedence(priority, batch=batch))), float)


def has_jobs_ahead(queue: str, project_id: str, priority: int, cost: float, count: int) -> Statement[int]:
    """A row if at least `count` queued jobs would be claimed before a new interactive job of a project.

    Reads the start of its flow and at most `count` entries of an index.
    """
    job_precedence = precedence(priority, batch=False)
    rank = sa.select(start(queue, project_id, job_precedence) + cost).scalar_subquery()
    is_ahead = sa.tuple_(jobs.c.precedence, jobs.c.fair_rank) <= sa.tuple_(sa.literal(job_precedence), rank)
    jobs_ahead = sa.select(sa.literal(1)).select_from(jobs).where(jobs.c.queue == queue, in_status(JobStatus.QUEUED))
    return Statement(jobs_ahead.where(is_ahead).offset(count - 1).limit(1), int)


def lock_flow(queue: str, project_id: str) -> sa.Select[Any]:
    """Lock a project's large inserts into a queue until the transaction ends.

    Two concurrent inserts would read the same `start` and get two shares. Run it before `select_start`, in a statement
    of its own, because a statement sees only rows that were committed before it began.
    """
    return sa.select(sa.func.pg_advisory_xact_lock(sa.func.hashtextextended(f"fair {queue} {project_id}", 0)))


def _clock(where: sa.ColumnElement[bool], *order: sa.ColumnElement[Any]) -> sa.ColumnElement[float]:
    """The clock of a part of a queue; null if it has no job. `order` ends with the rank."""
    on_device = _rank(where, in_status(JobStatus.IN_PROGRESS), order=[column.desc() for column in order])
    # Jobs that must wait (for a provider's limit, for a retry, for others of their project) are skipped, as in a
    # claim: they would stop the clock.
    near = (
        sa.select(jobs.c.precedence, jobs.c.fair_rank, jobs.c.id, jobs.c.project_id, jobs.c.api_key_id)
        .where(where, in_status(JobStatus.QUEUED), jobs.c.not_before <= NOW)
        .order_by(*order, jobs.c.id)
        .limit(NEAR_JOBS)
        .correlate_except(jobs)
        .subquery("near")
    )
    in_order = [near.c[column.name] for column in (*order, jobs.c.id)]
    head = sa.select(near.c.fair_rank).where(is_not_at_limit(near.c)).order_by(*in_order).limit(1).scalar_subquery()
    return sa.func.least(on_device, head)


def _rank(*where: sa.ColumnElement[bool], order: Sequence[sa.ColumnElement[Any]]) -> sa.ScalarSelect[float]:
    """The rank of the first job in an order."""
    return sa.select(jobs.c.fair_rank).where(*where).order_by(*order).limit(1).scalar_subquery()
