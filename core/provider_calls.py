"""Our own database of calls to a provider: a row before each call, closed after it. A paid call cannot be fenced.

`open_call` commits before anything is sent, and only for whoever holds the job's lease. A row that stays open, or whose
outcome nobody knows, says that the provider may have drawn and billed: the job is not sent again by itself. What a
provider says about its limits, and how its last calls ended, is read from here too, so that all workers of a queue
know it and a restart forgets nothing.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from itertools import takewhile
from typing import Any
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import JSONB, aggregate_order_by, insert

from core.clock import NOW
from core.db import Statement
from core.errors import ProviderPaused, ProviderRateLimited
from core.generation import Reply
from core.rows import AbandonedCall, ImageCost, JobRow, Preflight, UsageRow
from core.status import CallOutcome, JobStatus
from core.tables import in_status, jobs, provider_calls

MAX_DOUBLINGS = 6
"""A breaker's pause doubles at most so often: from 10 seconds to 11 minutes."""

_MAY_BE_BILLED = [outcome for outcome in CallOutcome if outcome.may_be_billed]


@dataclass(frozen=True, slots=True)
class Pause:
    """Nobody should ask the provider for a while."""

    reason: str  # code of the error that says why
    delay: timedelta


@dataclass(frozen=True, slots=True)
class Breaker:
    """After so many failures one after the other, one call at a time tries again, at growing distances."""

    failures: int
    pause: timedelta

    @property
    def window(self) -> int:
        """How many of the last calls decide: some more than may be under way when it opens."""
        return self.failures + 100


def lock(queue: str) -> sa.Select[Any]:
    """Let one worker at a time decide whether a queue's provider may be asked, until the transaction ends."""
    return sa.select(sa.func.pg_advisory_xact_lock(sa.func.hashtextextended(f"provider_calls {queue}", 0)))


def abandon(job_id: str, lease: UUID) -> Statement[AbandonedCall]:
    """Close what earlier attempts at a job left open: their workers are gone, and nobody knows what came of it."""
    return Statement(
        _abandoned().where(provider_calls.c.job_id == job_id, provider_calls.c.lease != lease), AbandonedCall
    )


def abandon_lost() -> Statement[AbandonedCall]:
    """Close every call whose job is not in the hands of the worker that made it any more.

    If that worker lives after all, `close_call` still tells what came of it.
    """
    held = sa.exists().where(
        jobs.c.id == provider_calls.c.job_id, jobs.c.lease == provider_calls.c.lease, in_status(JobStatus.IN_PROGRESS)
    )
    return Statement(_abandoned().where(~held), AbandonedCall)


def _abandoned() -> sa.Update:
    return (
        sa.update(provider_calls)
        .where(provider_calls.c.outcome.is_(None))
        .values(outcome=CallOutcome.ABANDONED, closed_at=NOW)
        .returning(provider_calls.c.id, provider_calls.c.job_id)
    )


def standing(job_id: str, lease: UUID, queue: str, breaker: Breaker) -> Statement[Preflight]:
    """What speaks against a call for a job. No row back: the job is somebody else's.

    unwanted: whether its owner wants it to stop. earlier: outcome of the last call of another attempt that may have
    been billed. limited_for: seconds for which the provider wants no call. recent: the queue's last calls, the one that
    ended last first, with their outcomes and the seconds since they began and ended. under_way: calls that began after
    the end of all these.
    """
    calls, own = provider_calls.c, provider_calls.alias("own").c
    earlier = (
        sa.select(own.outcome)
        .where(own.job_id == job_id, own.lease != lease, own.outcome.in_(_MAY_BE_BILLED))
        .order_by(own.started_at.desc())
        .limit(1)
    )
    limit = sa.select(sa.extract("epoch", sa.func.max(calls.retry_at) - NOW)).where(
        calls.queue == queue, calls.retry_at > NOW
    )
    last = (
        sa.select(calls.outcome, calls.started_at, calls.closed_at)
        .where(calls.queue == queue, calls.closed_at.is_not(None), calls.outcome != CallOutcome.ABANDONED)
        .order_by(calls.closed_at.desc())
        .limit(breaker.window)
        .cte("last")
    )
    described = sa.func.jsonb_build_object(
        "outcome", last.c.outcome,
        "began", sa.extract("epoch", NOW - last.c.started_at),
        "ended", sa.extract("epoch", NOW - last.c.closed_at),
    )  # fmt: skip
    recent = sa.select(sa.cast(sa.func.jsonb_agg(aggregate_order_by(described, last.c.closed_at.desc())), JSONB))
    ended_at = sa.select(sa.func.max(last.c.closed_at)).scalar_subquery()
    under_way = sa.select(sa.func.count()).where(
        calls.queue == queue, calls.outcome.is_(None), calls.started_at > ended_at
    )
    return Statement(
        sa.select(
            jobs.c.cancel_requested_at.is_not(None).label("unwanted"),
            earlier.scalar_subquery().label("earlier"),
            limit.scalar_subquery().label("limited_for"),
            recent.scalar_subquery().label("recent"),
            under_way.scalar_subquery().label("under_way"),
        ).where(jobs.c.id == job_id, jobs.c.lease == lease, in_status(JobStatus.IN_PROGRESS)),
        Preflight,
    )


def pause(standing: Preflight, breaker: Breaker) -> Pause | None:
    """How long a provider should be left alone: as long as it says, or as its last failures make wise."""
    if standing.limited_for is not None:
        return Pause(ProviderRateLimited.code, timedelta(seconds=float(standing.limited_for)))
    recent: Sequence[Mapping[str, Any]] = standing.recent or ()
    streak = list(takewhile(lambda call: CallOutcome(call["outcome"]).blames_provider, recent))
    if len(streak) < breaker.failures:
        return None
    opened = streak[-breaker.failures]["ended"]
    tries = sum(call["began"] < opened for call in streak)  # what was under way when it opened is none
    rest = breaker.pause * 2 ** min(tries, MAX_DOUBLINGS) - timedelta(seconds=streak[0]["ended"])
    if rest > timedelta(0):
        return Pause(ProviderPaused.code, rest)
    return Pause(ProviderPaused.code, breaker.pause) if standing.under_way else None


def open_call(call_id: str, job: JobRow, lease: UUID, request_hash: bytes) -> Statement[str]:
    """Write down that a job's request is about to be sent. To be committed before it is; may be repeated by id.

    Nothing is written for a job that is not held under this lease or not wanted any more.
    """
    ours = jobs.c.id == job.id, jobs.c.lease == lease, in_status(JobStatus.IN_PROGRESS)
    new = sa.select(
        sa.literal(call_id),
        jobs.c.project_id,
        jobs.c.id,
        jobs.c.attempts,
        jobs.c.lease,
        jobs.c.worker,
        jobs.c.queue,
        jobs.c.model,
        jobs.c.n,
        sa.literal(request_hash),
    ).where(*ours, jobs.c.cancel_requested_at.is_(None))
    columns = [
        "id", "project_id", "job_id", "attempt", "lease", "worker", "queue", "model", "n", "request_hash",
    ]  # fmt: skip
    return Statement(
        (
            insert(provider_calls)
            .from_select(columns, new)
            .on_conflict_do_update(index_elements=["id"], set_={"id": call_id})
            .returning(provider_calls.c.id)
        ),
        str,
    )


def close_call(call_id: str, reply: Reply) -> Statement[str]:
    """Write down how a call ended; also over a guess that was made while its worker was silent."""
    wait = None if reply.wait is None else NOW + sa.literal(reply.wait, sa.Interval)
    statement = (
        sa.update(provider_calls)
        .where(
            provider_calls.c.id == call_id,
            sa.or_(provider_calls.c.outcome.is_(None), provider_calls.c.outcome == CallOutcome.ABANDONED),
        )
        .values(
            outcome=reply.outcome,
            closed_at=NOW,
            error_code=None if reply.error is None else reply.error.code,
            http_status=reply.http_status,
            provider_request_id=reply.request_id,
            usage=None if reply.usage is None else dict(reply.usage),
            cost_usd=reply.cost_usd,
            retry_at=wait,
        )
    )
    return Statement(statement.returning(provider_calls.c.id), str)


def cost_per_image(project_id: str, model: str, calls: int = 100) -> Statement[ImageCost]:
    """What an image of a model has cost a project lately, in US dollars, over so many calls; null: it is not known."""
    lately = (
        sa.select(provider_calls.c.cost_usd, provider_calls.c.n)
        .where(
            provider_calls.c.project_id == project_id,
            provider_calls.c.model == model,
            provider_calls.c.outcome == CallOutcome.SUCCEEDED,
            provider_calls.c.cost_usd.is_not(None),
        )
        .order_by(provider_calls.c.closed_at.desc())
        .limit(calls)
        .subquery("lately")
    )
    return Statement(
        sa.select(sa.cast(sa.func.sum(lately.c.cost_usd) / sa.func.sum(lately.c.n), sa.Double).label("usd")), ImageCost
    )


def usage(job_id: str) -> Statement[UsageRow]:
    """What the provider counted for the images of a job."""
    return Statement(
        (
            sa.select(provider_calls.c.usage)
            .where(
                provider_calls.c.job_id == job_id,
                provider_calls.c.outcome == CallOutcome.SUCCEEDED,
                provider_calls.c.usage.is_not(None),
            )
            .order_by(provider_calls.c.started_at.desc())
            .limit(1)
        ),
        UsageRow,
    )
