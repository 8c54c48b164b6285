"""The database of paid calls: who may open one, what an open one means, and when a provider is not called."""

from collections.abc import Sequence
from datetime import timedelta
from uuid import UUID, uuid4

import pytest
import sqlalchemy as sa

from core import jobs, provider_calls, submits
from core.db import Database
from core.generation import Reply
from core.generation_errors import ProviderUnavailable
from core.ids import new_id
from core.provider_calls import Breaker, Pause
from core.rows.job import JobRow, Preflight
from core.status import CallOutcome
from core.tables import DEFAULT_PROJECT, job_events
from core.tables import jobs as table
from core.tables import provider_calls as calls
from tests.factories import a_job, claim

BREAKER = Breaker(failures=3, pause=timedelta(seconds=10))


def a_claimed_job(database: Database) -> tuple[JobRow, UUID]:
    """A job in the hands of a worker, and its lease."""
    lease = uuid4()
    database.execute(submits.submit(a_job()))
    return database.execute(claim(lease))[0], lease


def open_call(database: Database, job: JobRow, lease: UUID) -> str | None:
    """A call for a job; None where none may be opened."""
    call_id = new_id("call")
    rows = database.execute(provider_calls.open_call(call_id, job, lease, b"hash"))
    return call_id if rows else None


def end_calls(database: Database, *outcomes: CallOutcome, wait: timedelta | None = None) -> None:
    """Calls of other jobs that ended so, one after the other."""
    for outcome in outcomes:
        job, lease = a_claimed_job(database)
        call_id = open_call(database, job, lease)
        assert call_id is not None
        database.execute(provider_calls.close_call(call_id, Reply(outcome, error=ProviderUnavailable(), wait=wait)))
        database.execute(jobs.fail(job.id, lease, ProviderUnavailable()))


def job_standing(database: Database, job: JobRow, lease: UUID) -> Preflight:
    (row,) = database.execute(provider_calls.preflight(job.id, lease, "local", BREAKER))
    return row


def pause(database: Database) -> Pause | None:
    """What a job that is claimed now would hear."""
    job, lease = a_claimed_job(database)
    return provider_calls.pause(job_standing(database, job, lease), BREAKER)


def outcomes(database: Database) -> Sequence[str | None]:
    return [row.outcome for row in database.execute(sa.select(calls.c.outcome).order_by(calls.c.started_at))]


def test_a_call_is_opened_for_the_holder_of_the_lease_alone(database: Database) -> None:
    job, lease = a_claimed_job(database)

    assert open_call(database, job, uuid4()) is None
    assert open_call(database, job, lease) is not None


def test_a_wish_to_stop_prevents_the_call(database: Database) -> None:
    job, lease = a_claimed_job(database)
    database.execute(jobs.cancel(DEFAULT_PROJECT, job.id))

    assert job_standing(database, job, lease).is_cancelled
    assert open_call(database, job, lease) is None


def test_opening_a_call_again_by_its_id_opens_no_second(database: Database) -> None:
    job, lease = a_claimed_job(database)
    for _ in range(2):
        assert database.execute(provider_calls.open_call("call_1", job, lease, b"hash"))

    assert outcomes(database) == [None]


def test_a_job_has_one_open_call_at_most(database: Database) -> None:
    job, lease = a_claimed_job(database)
    open_call(database, job, lease)

    with pytest.raises(sa.exc.IntegrityError):
        open_call(database, job, lease)


@pytest.mark.parametrize("outcome", CallOutcome)
def test_an_earlier_attempt_speaks_against_a_call_if_it_may_have_been_billed(
    database: Database, outcome: CallOutcome
) -> None:
    job, lease = a_claimed_job(database)
    call_id = open_call(database, job, lease)
    assert call_id is not None
    assert job_standing(database, job, lease).earlier_outcome is None  # one's own is not an earlier one
    if outcome is CallOutcome.ABANDONED:
        database.execute(provider_calls.abandon(job.id, uuid4()))
    else:
        database.execute(provider_calls.close_call(call_id, Reply(outcome)))
    database.execute(jobs.postpone(job.id, lease, "test", timedelta(0)))
    later = uuid4()
    database.execute(claim(later))

    assert job_standing(database, job, later).earlier_outcome == (outcome if outcome.may_be_billed else None)


def test_calls_of_jobs_that_nobody_holds_are_abandoned_and_may_still_be_closed_later(database: Database) -> None:
    job, lease = a_claimed_job(database)
    lost_call = open_call(database, job, lease)
    assert lost_call is not None
    other_job, its_lease = a_claimed_job(database)
    open_call(database, other_job, its_lease)
    database.execute(jobs.fail(job.id, lease, ProviderUnavailable()))

    (abandoned,) = database.execute(provider_calls.abandon_lost())
    assert abandoned.job_id == job.id
    database.execute(provider_calls.close_call(lost_call, Reply(CallOutcome.SUCCEEDED)))
    database.execute(provider_calls.close_call(lost_call, Reply(CallOutcome.FAILED)))

    assert outcomes(database) == ["succeeded", None]


def test_a_limit_holds_for_as_long_as_the_provider_says(database: Database) -> None:
    end_calls(database, CallOutcome.LIMITED, wait=timedelta(hours=2))

    pause_now = pause(database)

    assert pause_now is not None
    assert pause_now.reason == "provider_rate_limited"
    assert timedelta(hours=1) < pause_now.delay <= timedelta(hours=2)


@pytest.mark.parametrize(
    ("calls_before", "seconds"),
    [
        ("", 0),
        ("FF", 0),
        ("FFF", 10),
        ("FFUF", 20),  # the fourth was a try of its own
        ("FXFFFFFF", 320),
        ("FFFFFFFFFFFFFFFFF", 640),
        ("FFFS", 0),
        ("FFSF", 0),
        ("FFRF", 0),  # a refusal is a sign of life
        ("FFAF", 10),  # a worker that died says nothing about the provider
    ],
)
def test_a_breaker_opens_after_failures_in_a_row_and_its_pause_doubles(
    database: Database, calls_before: str, seconds: int
) -> None:
    of = {
        "F": CallOutcome.FAILED, "U": CallOutcome.UNKNOWN, "X": CallOutcome.UNREADABLE, "S": CallOutcome.SUCCEEDED,
        "R": CallOutcome.REFUSED, "A": CallOutcome.ABANDONED,
    }  # fmt: skip
    end_calls(database, *(of[letter] for letter in calls_before))

    pause_now = pause(database)

    if not seconds:
        assert pause_now is None
    else:
        assert pause_now is not None
        assert pause_now.reason == "provider_paused"
        assert seconds - 5 < pause_now.delay.total_seconds() <= seconds


def test_calls_that_were_under_way_when_the_breaker_opened_do_not_lengthen_its_pause(database: Database) -> None:
    under_way = [open_call(database, *a_claimed_job(database)) for _ in range(8)]
    for call_id in under_way:
        assert call_id is not None
        database.execute(provider_calls.close_call(call_id, Reply(CallOutcome.FAILED)))

    pause_now = pause(database)

    assert pause_now is not None
    assert pause_now.delay <= BREAKER.pause


def test_after_the_pause_one_call_tries_and_the_others_wait_for_it(database: Database) -> None:
    end_calls(database, *[CallOutcome.FAILED] * 3)
    database.execute(
        sa.update(calls).values(
            started_at=calls.c.started_at - timedelta(seconds=60), closed_at=calls.c.closed_at - timedelta(seconds=60)
        )
    )
    assert pause(database) is None
    job, lease = a_claimed_job(database)
    open_call(database, job, lease)

    assert pause(database) == Pause("provider_paused", BREAKER.pause)


def test_a_postponed_job_waits_and_has_lost_no_attempt(database: Database) -> None:
    job, lease = a_claimed_job(database)

    database.execute(jobs.postpone(job.id, lease, "provider_rate_limited", timedelta(hours=1)))

    clock = sa.func.clock_timestamp()
    (row,) = database.execute(sa.select(table, (table.c.not_before > clock + timedelta(minutes=59)).label("waits")))
    (event,) = database.execute(sa.select(job_events.c.data).where(job_events.c.type == "job.requeued"))
    assert (row.status, row.failures, row.crashes, row.lease, row.waits) == ("queued", 0, 0, None, True)
    assert event.data["reason"] == "provider_rate_limited"
    assert database.execute(claim(uuid4())) == []
