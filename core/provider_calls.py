"""Calls to a provider: a row before each call, closed after it, because a paid call cannot be fenced.

`open_call` is committed before anything is sent, and only for the holder of the job's lease. A row that stays open, or
whose outcome is unknown, means that the provider may have billed an image: the job is not sent again by itself. The
rows also hold the provider's rate limits and the outcomes of its last calls, for all workers of a queue and over
restarts.
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
from core.generation import Reply
from core.generation_errors import ProviderPaused, ProviderRateLimited
from core.rows.job import AbandonedCall, ImageCost, JobRow, Preflight, UsageRow
from core.status import CallOutcome, JobStatus
from core.tables import in_status, jobs, provider_calls
from core.text import storable

MAX_DOUBLINGS = 6
"""A breaker's pause doubles at most so often: from 10 seconds to 11 minutes."""

_MAY_BE_BILLED = [outcome for outcome in CallOutcome if outcome.may_be_billed]


@dataclass(frozen=True, slots=True)
class Pause:
    """The provider is not to be called for a while."""

    reason: str  # code of the error that says why
    delay: timedelta


@dataclass(frozen=True, slots=True)
class Breaker:
    """After so many consecutive failures, one call at a time tries again, after growing pauses."""

    failures: int
    pause: timedelta

    @property
    def window(self) -> int:
        """How many of the last calls decide: more than may be under way when it opens."""
        return self.failures + 100


def lock(queue: str) -> sa.Select[Any]:
    """Let one worker at a time decide whether a queue's provider may be called, until the transaction ends."""
    return sa.select(sa.func.pg_advisory_xact_lock(sa.func.hashtextextended(f"provider_calls {queue}", 0)))


def abandon(job_id: str, lease: UUID) -> Statement[AbandonedCall]:
    """Close the calls that earlier attempts at a job left open: their workers are gone, the outcome is unknown."""
    return Statement(
        _abandon().where(provider_calls.c.job_id == job_id, provider_calls.c.lease != lease), AbandonedCall
    )


def abandon_lost() -> Statement[AbandonedCall]:
    """Close every call whose worker does not hold the job's lease any more.

    If that worker lives after all, `close_call` still records the outcome.
    """
    has_lease = sa.exists().where(
        jobs.c.id == provider_calls.c.job_id, jobs.c.lease == provider_calls.c.lease, in_status(JobStatus.IN_PROGRESS)
    )
    return Statement(_abandon().where(~has_lease), AbandonedCall)


def _abandon() -> sa.Update:
    return (
        sa.update(provider_calls)
        .where(provider_calls.c.outcome.is_(None))
        .values(outcome=CallOutcome.ABANDONED, closed_at=NOW)
        .returning(provider_calls.c.id, provider_calls.c.job_id)
    )


def preflight(job_id: str, lease: UUID, queue: str, breaker: Breaker) -> Statement[Preflight]:
    """Everything that may forbid a call for a job. No row back: the lease is lost.

    is_cancelled: whether its owner cancelled it. earlier_outcome: of the last call of another attempt that may have
    been billed. limited_for: seconds for which the provider takes no call. recent: the queue's last calls, latest end
    first, with their outcomes and the seconds since they began and ended. under_way: calls that began after the end of
    all these.
    """
    calls, attempts = provider_calls.c, provider_calls.alias("attempts").c
    earlier_outcome = (
        sa.select(attempts.outcome)
        .where(attempts.job_id == job_id, attempts.lease != lease, attempts.outcome.in_(_MAY_BE_BILLED))
        .order_by(attempts.started_at.desc())
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
    call = sa.func.jsonb_build_object(
        "outcome", last.c.outcome,
        "began", sa.extract("epoch", NOW - last.c.started_at),
        "ended", sa.extract("epoch", NOW - last.c.closed_at),
    )  # fmt: skip
    recent = sa.select(sa.cast(sa.func.jsonb_agg(aggregate_order_by(call, last.c.closed_at.desc())), JSONB))
    ended_at = sa.select(sa.func.max(last.c.closed_at)).scalar_subquery()
    under_way = sa.select(sa.func.count()).where(
        calls.queue == queue, calls.outcome.is_(None), calls.started_at > ended_at
    )
    return Statement(
        sa.select(
            jobs.c.cancel_requested_at.is_not(None).label("is_cancelled"),
            earlier_outcome.scalar_subquery().label("earlier_outcome"),
            limit.scalar_subquery().label("limited_for"),
            recent.scalar_subquery().label("recent"),
            under_way.scalar_subquery().label("under_way"),
        ).where(jobs.c.id == job_id, jobs.c.lease == lease, in_status(JobStatus.IN_PROGRESS)),
        Preflight,
    )


def pause(preflight: Preflight, breaker: Breaker) -> Pause | None:
    """How long a provider is not to be called: as long as it says, or as its last failures suggest."""
    if preflight.limited_for is not None:
        return Pause(ProviderRateLimited.code, timedelta(seconds=float(preflight.limited_for)))
    recent: Sequence[Mapping[str, Any]] = preflight.recent or ()
    streak = list(takewhile(lambda call: CallOutcome(call["outcome"]).blames_provider, recent))
    if len(streak) < breaker.failures:
        return None
    opened_ago = streak[-breaker.failures]["ended"]
    tries = sum(call["began"] < opened_ago for call in streak)  # calls under way when it opened do not count
    remaining = breaker.pause * 2 ** min(tries, MAX_DOUBLINGS) - timedelta(seconds=streak[0]["ended"])
    if remaining > timedelta(0):
        return Pause(ProviderPaused.code, remaining)
    return Pause(ProviderPaused.code, breaker.pause) if preflight.under_way else None


def open_call(call_id: str, job: JobRow, lease: UUID, request_hash: bytes) -> Statement[str]:
    """Record that a job's request is about to be sent. Commit it before sending; it may be repeated by id.

    No row is written for a cancelled job, or for one that is not under this lease.
    """
    is_current = jobs.c.id == job.id, jobs.c.lease == lease, in_status(JobStatus.IN_PROGRESS)
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
    ).where(*is_current, jobs.c.cancel_requested_at.is_(None))
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
    """Record the outcome of a call, also of one that was taken for abandoned meanwhile."""
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
            provider_request_id=storable(reply.request_id),
            usage=storable(reply.usage),
            cost_usd=reply.cost_usd,
            retry_at=wait,
        )
    )
    return Statement(statement.returning(provider_calls.c.id), str)


def cost_per_image(project_id: str, model: str, calls: int = 100) -> Statement[ImageCost]:
    """What an image of a model has cost a project, in US dollars, over its last calls; null: not known."""
    recent = (
        sa.select(provider_calls.c.cost_usd, provider_calls.c.n)
        .where(
            provider_calls.c.project_id == project_id,
            provider_calls.c.model == model,
            provider_calls.c.outcome == CallOutcome.SUCCEEDED,
            provider_calls.c.cost_usd.is_not(None),
        )
        .order_by(provider_calls.c.closed_at.desc())
        .limit(calls)
        .subquery("recent")
    )
    return Statement(
        sa.select(sa.cast(sa.func.sum(recent.c.cost_usd) / sa.func.sum(recent.c.n), sa.Double).label("usd")), ImageCost
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
