"""Deliveries: written with the transition that caused them, claimed in turn, recorded by whoever holds the token."""

from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest
import sqlalchemy as sa

from core import jobs
from core.db import Database
from core.errors import OutOfMemory
from core.event_types import event_names
from core.outbox import claims, deliveries, signing
from core.outbox.deliveries import Attempt
from core.rows import ClaimedDelivery
from core.status import JobStatus
from core.tables import DEFAULT_PROJECT, job_events
from core.tables import webhook_attempts as attempts_table
from core.tables import webhook_deliveries as table
from core.tables import webhook_endpoints as endpoints_table
from core.webhooks import endpoints as webhooks
from tests.core.test_verbs import a_job, an_image, claim, in_state

MINUTE = timedelta(minutes=1)
WEBHOOK_EVENTS = event_names("job", for_webhooks=True)
FINALS = ["job.completed", "job.failed", "job.cancelled", "job.expired"]
OWN = {"url": "https://own.test:8443/hook?job=1", "events": ["job.completed"], "secret": None}


def an_endpoint(database: Database, *types: str, project_id: str = DEFAULT_PROJECT) -> str:
    made = webhooks.create(project_id, "x", "https://receiver.test/", types or FINALS, signing.new_secret())
    return str(database.execute(made)[0].id)


def rows(database: Database) -> list[sa.Row[Any]]:
    return list(database.execute(sa.select(table).order_by(table.c.seq)))


def take(
    database: Database, *, limit: int = 100, per_destination: int = 100, **of_destinations: Any
) -> list[ClaimedDelivery]:
    """Claim, with all lanes quick if nothing else is said."""
    said: dict[str, Any] = {"quick": {row.destination for row in rows(database)}, "for_others": limit} | of_destinations
    return list(
        database.execute(claims.claim(uuid4(), limit=limit, per_destination=per_destination, length=MINUTE, **said))
    )


def tried(**fields: Any) -> Attempt:
    return Attempt(datetime.now(UTC), 0.1, **fields)


def completed(database: Database, **fields: Any) -> str:
    job, lease = a_job(**fields), uuid4()
    database.execute(jobs.submit(job))
    database.execute(claim(lease))
    database.execute(jobs.complete(job.id, lease, [an_image(job.id)]))
    return job.id


@pytest.mark.parametrize("status", JobStatus)
def test_an_event_and_its_deliveries_are_written_together(database: Database, status: JobStatus) -> None:
    all_of_them = an_endpoint(database, *WEBHOOK_EVENTS)
    finals = an_endpoint(database)

    job_id, _ = in_state(database, status)

    known = [all_of_them, finals]
    events = database.execute(sa.select(job_events).order_by(job_events.c.seq))
    told = [event for event in events if event.type in WEBHOOK_EVENTS]
    wanted = [(e.id, known if e.type in FINALS else [all_of_them]) for e in told]
    written = [(row.event_id, row.endpoint_id, row.job_id, row.event_type) for row in rows(database)]
    kinds = {event.id: event.type for event in told}
    assert sorted(written) == sorted((i, to, job_id, kinds[i]) for i, receivers in wanted for to in receivers)


def test_a_job_without_receivers_causes_no_delivery(database: Database) -> None:
    disabled = an_endpoint(database)
    database.execute(webhooks.update(DEFAULT_PROJECT, disabled, {}, enable=False))

    completed(database)

    assert rows(database) == []


def test_a_jobs_own_receiver_is_told_what_it_wants(database: Database) -> None:
    job_id = completed(database, webhook=OWN)
    completed(database, webhook=OWN | {"events": ["job.failed"]})

    (row,) = rows(database)
    assert (row.job_id, row.endpoint_id, row.destination) == (job_id, None, "https://own.test:8443")
    (taken,) = take(database)
    assert (taken.webhook, taken.endpoint_url) == (OWN, None)


def test_what_is_taken_is_not_taken_again_until_its_time_is_up(database: Database) -> None:
    an_endpoint(database)
    completed(database)

    (first,) = take(database)
    assert first.endpoint_url == "https://receiver.test/"
    assert take(database) == []

    database.execute(sa.update(table).values(due_at=sa.func.now()))
    (second,) = take(database)
    assert second.id == first.id
    assert not database.execute(deliveries.delivered(first.id, first.lease, tried(status_code=200)))
    (done,) = database.execute(deliveries.delivered(second.id, second.lease, tried(status_code=200)))
    assert (done.status, done.attempts, done.lease) == ("delivered", 1, None)


def test_a_receiver_that_hangs_leaves_room_for_others(database: Database) -> None:
    hanging, other = an_endpoint(database), an_endpoint(database)
    for _ in range(5):
        completed(database)

    first = take(database, per_destination=2)
    assert sorted(row.destination for row in first) == sorted([hanging] * 2 + [other] * 2)
    for row in first:
        if row.destination == other:
            database.execute(deliveries.delivered(row.id, row.lease, tried(status_code=200)))
    assert [row.destination for row in take(database, per_destination=2)] == [other] * 2
    assert take(database, per_destination=2) == []


def test_receivers_that_are_not_quick_share_what_is_for_them_in_turn(database: Database) -> None:
    slow, slower, new, quick = (an_endpoint(database) for _ in range(4))
    for _ in range(3):
        completed(database)
    known: dict[str, Any] = {"quick": [quick], "slow": [slower, slow]}

    for for_others, others in (
        (0, []),
        (1, [new]),
        (2, [new, slower]),
        (3, [new, slower, slow]),
        (9, [new, slower, slow]),
    ):
        taken = take(database, per_destination=2, for_others=for_others, **known)
        assert sorted(row.destination for row in taken) == sorted([quick] * 2 + others)
        database.execute(sa.update(table).values(lease=None, due_at=sa.func.now()))


def test_no_more_is_taken_than_asked_for_and_the_longest_waiting_first(database: Database) -> None:
    an_endpoint(database)
    job_ids = [completed(database) for _ in range(4)]

    assert [row.job_id for row in take(database, limit=3)] == job_ids[:3]


def test_what_is_told_of_a_job_goes_in_order(database: Database) -> None:
    an_endpoint(database, "job.started", "job.completed")
    completed(database)

    (started,) = take(database)
    assert started.event_type == "job.started"
    database.execute(deliveries.failed(started.id, started.lease, tried(), retry_in=timedelta(hours=1)))
    assert take(database) == []
    database.execute(sa.update(table).values(due_at=sa.func.now()))
    (started,) = take(database)
    database.execute(deliveries.failed(started.id, started.lease, tried(), retry_in=None))
    (ended,) = take(database)
    assert ended.event_type == "job.completed"


def fail(database: Database, retry_in: timedelta | None = MINUTE, **options: Any) -> None:
    (row,) = take(database)
    attempt = tried(status_code=500, error_code="http_error", answer="no")
    database.execute(deliveries.failed(row.id, row.lease, attempt, retry_in=retry_in, **options))


def test_attempts_are_logged_and_success_ends_the_trouble(database: Database) -> None:
    endpoint_id = an_endpoint(database)
    completed(database)
    fail(database)
    (endpoint,) = database.execute(webhooks.get_endpoint(DEFAULT_PROJECT, endpoint_id))
    assert endpoint.failing_since is not None
    assert take(database) == []

    database.execute(sa.update(table).values(due_at=sa.func.now()))
    (row,) = take(database)
    database.execute(deliveries.delivered(row.id, row.lease, tried(status_code=204)))

    log = database.execute(deliveries.attempts_of(row.id))
    assert [(one.number, one.status_code, one.answer) for one in log] == [(1, 500, "no"), (2, 204, None)]
    (endpoint,) = database.execute(webhooks.get_endpoint(DEFAULT_PROJECT, endpoint_id))
    assert (endpoint.failing_since, endpoint.disabled_at) == (None, None)


def test_a_receiver_that_is_gone_is_disabled_at_once_and_nothing_waits_for_it(database: Database) -> None:
    gone, other = an_endpoint(database), an_endpoint(database)
    for _ in range(3):
        completed(database)
    taken = next(row for row in take(database, limit=6, per_destination=1) if row.destination == gone)

    database.execute(deliveries.failed(taken.id, taken.lease, tried(status_code=410), retry_in=None, gone=True))

    (endpoint,) = database.execute(webhooks.get_endpoint(DEFAULT_PROJECT, gone))
    assert endpoint.disabled_reason == "The receiver answered 410 Gone."
    status = {
        destination: [row.status for row in rows(database) if row.destination == destination]
        for destination in (gone, other)
    }
    assert status == {gone: ["failed"] * 3, other: ["pending"] * 3}
    completed(database)
    assert len(rows(database)) == 7


def test_an_endpoint_is_disabled_when_an_event_runs_out_and_nothing_got_through(database: Database) -> None:
    endpoint_id = an_endpoint(database)
    completed(database)
    fail(database, retry_in=None, patience=timedelta(hours=1))
    (endpoint,) = database.execute(webhooks.get_endpoint(DEFAULT_PROJECT, endpoint_id))
    assert endpoint.disabled_at is None

    database.execute(sa.update(endpoints_table).values(failing_since=sa.func.now() - timedelta(hours=2)))
    completed(database)
    fail(database, retry_in=None, patience=timedelta(hours=1))

    (endpoint,) = database.execute(webhooks.get_endpoint(DEFAULT_PROJECT, endpoint_id))
    assert str(endpoint.disabled_reason).startswith("Every delivery has failed since 20")


def test_an_event_is_sent_again_with_its_id_as_a_new_delivery(database: Database) -> None:
    an_endpoint(database)
    completed(database)
    fail(database, retry_in=None)
    (old,) = rows(database)

    (new,) = database.execute(deliveries.redeliver(DEFAULT_PROJECT, old.id))

    assert (new.event_id, new.attempts, new.status) == (old.event_id, 0, "pending")
    assert new.id != old.id
    assert not database.execute(deliveries.redeliver("proj_other", old.id))


def test_everything_missed_since_a_time_is_sent_and_nothing_twice(database: Database) -> None:
    endpoint_id = an_endpoint(database)
    before = datetime.now(UTC)
    delivered = completed(database)
    (row,) = take(database)
    database.execute(deliveries.delivered(row.id, row.lease, tried(status_code=200)))
    failed = completed(database)
    fail(database, retry_in=None)
    database.execute(webhooks.update(DEFAULT_PROJECT, endpoint_id, {}, enable=False))
    unheard = completed(database)
    database.execute(webhooks.update(DEFAULT_PROJECT, endpoint_id, {}, enable=True))

    assert not database.execute(deliveries.redeliver_since("proj_other", endpoint_id, before))
    assert len(database.execute(deliveries.redeliver_since(DEFAULT_PROJECT, endpoint_id, before))) == 2
    assert not database.execute(deliveries.redeliver_since(DEFAULT_PROJECT, endpoint_id, before))
    assert {row.job_id for row in take(database)} == {failed, unheard}
    assert delivered


def test_a_deleted_endpoint_is_told_nothing_more(database: Database) -> None:
    endpoint_id = an_endpoint(database)
    completed(database)
    assert not database.execute(webhooks.delete("proj_other", endpoint_id))

    assert database.execute(webhooks.delete(DEFAULT_PROJECT, endpoint_id))

    assert take(database) == []
    (row,) = rows(database)
    assert (row.status, row.error_code) == ("failed", "endpoint_deleted")


def test_both_secrets_live_while_one_is_replaced(database: Database) -> None:
    endpoint_id = an_endpoint(database)
    (old,) = database.execute(webhooks.get_endpoint(DEFAULT_PROJECT, endpoint_id))
    new = signing.new_secret()

    (kept,) = database.execute(webhooks.rotate(DEFAULT_PROJECT, endpoint_id, new, keep_previous=True))

    now = datetime.now(UTC)
    live = [signing.live_secrets(kept.secret, kept.previous_secret, kept.previous_secret_until, now + when)
            for when in (timedelta(0), timedelta(hours=25))]  # fmt: skip
    assert live == [[new, old.secret], [new]]
    (alone,) = database.execute(
        webhooks.rotate(DEFAULT_PROJECT, endpoint_id, signing.new_secret(), keep_previous=False)
    )
    assert alone.previous_secret is None


def test_deleting_a_job_deletes_its_deliveries(database: Database) -> None:
    an_endpoint(database)
    job_id = completed(database)
    fail(database)

    database.execute(jobs.delete(DEFAULT_PROJECT, job_id))

    assert rows(database) == []
    assert not database.execute(sa.select(attempts_table))


def test_a_failure_is_told(database: Database) -> None:
    an_endpoint(database, "job.failed")
    job, lease = a_job(), uuid4()
    database.execute(jobs.submit(job))
    database.execute(claim(lease))
    database.execute(jobs.fail(job.id, UUID(str(lease)), OutOfMemory()))

    assert [row.event_type for row in rows(database)] == ["job.failed"]
