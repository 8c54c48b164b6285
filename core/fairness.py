"""The fair order of jobs: who goes next, and what it costs to go. The one place that decides it.

**The line.** A queue's jobs stand in order of *precedence* (interactive before batch, then higher priority), and within
one precedence in order of *fair rank*. Fifteen claims of sixteen take the first of this line; the sixteenth takes the
lowest fair rank in the whole queue (`is_fair_turn`), whatever its precedence.

**The rank** is the finish tag of self-clocked fair queueing (Golestani, "A self-clocked fair queueing scheme for
broadband applications", INFOCOM 1994, eq. 3), with images for packets and estimated device-seconds for bits:

    fair_rank = max(v, F) + cost

F is the last rank of the *flow* the job belongs to, a flow being one project's jobs of one precedence in one queue; v
is how far the queue has come. A project that floods the queue pushes its own jobs further and further back, and a
newcomer starts at v. Nothing remembers what is done: v and F are read off the jobs that are queued or in progress, by
looks into indexes, however long the line is.

**The clock.** v is the rank of what is on the device, as Golestani has it, with two differences. A micro-batch takes
compatible jobs from anywhere in the line, so that a rank on the device may be far ahead of the line; the head of the
line bounds it. And each precedence keeps its own clock, as a stream of urgent jobs would otherwise push the clock, and
every newcomer of another precedence with it, past those that wait already; a clock never stands behind the queue's:

    clock(S) = min(highest rank of S on the device, lowest rank of S in line)
    v = max(clock(the precedence), clock(the queue))

**What it promises.**

- *Interactive before batch*: a single job waits for the micro-batch on the device, for those before it in its own
  precedence, and for at most one in sixteen claims beside.
- *Shares*: projects that have work of one precedence get equal device time, whoever has more of it or came first. In
  the time a flow waits for one of its jobs, no other flow gets more than that job's cost and one of its own jobs'.
- *Nothing starves*: each claim takes the lowest rank of a precedence, and ranks given out later only rise. What is
  overtaken by higher precedence falls behind in rank, hence gets every sixteenth claim until it has caught up: it keeps
  a sixteenth of the claims or its fair share, whichever is less.
- *Costs are estimates*: a flow whose jobs are all estimated at half their cost gets twice its share. The estimate is
  the model's (`seconds_per_image` of the catalogue), so that an error is the same for all who use it.
- *What is cancelled is not charged*: F falls back when jobs go. Those that stood behind them keep their place.

The start tags that stood here before (start-time fair queueing, Goyal, Vin & Cheng 1996) let a crowd of clients that
each wait for one job and send the next starve everyone else: all started at v, and v never moved. A finish tag is above
v by the cost of a job, so that every service moves it. Why it is so: `docs/decisions/0009-fair-order.md`; how quick it
is: `docs/05-performance.md`.
"""

from collections.abc import Sequence
from typing import Any, TypeVar

import sqlalchemy as sa

from core.clock import NOW
from core.db import Statement
from core.status import JobStatus
from core.tables import BATCH_PRECEDENCE, equals_in_order, in_status, jobs

FAIR_TURN = 16
"""One claim in so many goes by fair rank alone. It is what batch work and low priorities keep of a busy device (6 %),
and the chance that a single job waits for one micro-batch more."""

Number = TypeVar("Number", int, sa.ColumnElement[int])


def precedence(priority: Number, *, batch: bool) -> Number:
    """What stands first in line: lower goes first. The table works it out for each row in the same way."""
    return (BATCH_PRECEDENCE if batch else 0) - priority


def is_fair_turn(number: int) -> bool:
    """Whether a worker's claim of this number, counted from 0 for each queue, goes by fair rank alone."""
    return number % FAIR_TURN == FAIR_TURN - 1


def start(
    queue: str | sa.ColumnElement[str], project_id: str | sa.ColumnElement[str], standing: int | sa.ColumnElement[int]
) -> sa.ColumnElement[float]:
    """max(v, F): from where a flow's next job is charged. Its rank is this and its cost.

    Of several that come together each one's rank is this and the costs up to its own: they stand behind each other, as
    if they had come one by one.

    standing: its `precedence`.
    """
    in_queue = jobs.c.queue == queue
    alike = sa.and_(in_queue, equals_in_order(jobs.c.precedence, standing))
    of_flow = sa.and_(in_queue, jobs.c.project_id == project_id, jobs.c.precedence == standing)
    last = _rank(of_flow, in_status(JobStatus.QUEUED, JobStatus.IN_PROGRESS), order=[jobs.c.fair_rank.desc()])
    return sa.func.greatest(
        _clock(alike, jobs.c.precedence, jobs.c.fair_rank), _clock(in_queue, jobs.c.fair_rank), last, 0.0
    )


def select_start(queue: str, project_id: str, priority: int, *, batch: bool) -> Statement[float]:
    """`start` as a statement, for those who insert many jobs of a flow and add up the ranks themselves."""
    return Statement(sa.select(start(queue, project_id, precedence(priority, batch=batch))), float)


def lock_flow(queue: str, project_id: str) -> sa.Select[Any]:
    """Keep a project's other large inserts into a queue waiting until this transaction ends.

    Two at once would read the same `start`, stand side by side and get two shares. To be run before `start_of`, in a
    statement of its own: a statement sees what was committed before it began.
    """
    return sa.select(sa.func.pg_advisory_xact_lock(sa.func.hashtextextended(f"fair {queue} {project_id}", 0)))


def _clock(where: sa.ColumnElement[bool], *order: sa.ColumnElement[Any]) -> sa.ColumnElement[float]:
    """How far some part of a queue has come; null when nothing of it is alive. `order` ends with the rank."""
    on_device = _rank(where, in_status(JobStatus.IN_PROGRESS), order=[column.desc() for column in order])
    # What must wait (a provider's limit, a retry) is passed over, as by a claim: it would hold the clock back.
    head = _rank(where, in_status(JobStatus.QUEUED), jobs.c.not_before <= NOW, order=[*order, jobs.c.id])
    return sa.func.least(on_device, head)


def _rank(*where: sa.ColumnElement[bool], order: Sequence[sa.ColumnElement[Any]]) -> sa.ScalarSelect[float]:
    """The rank of the first job in some order."""
    return sa.select(jobs.c.fair_rank).where(*where).order_by(*order).limit(1).scalar_subquery()
