"""Deliveries: written with the event that causes them, claimed in turn, recorded by the holder of the lease."""

from collections import Counter
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest
import sqlalchemy as sa

from core import jobs, submits
from core.db import Database
from core.erasures import contents
from core.event_types import event_names
from core.generation_errors import OutOfMemory
from core.outbox import attempts, redelivery, signing
from core.outbox.attempts import Attempt, Success
from core.status import JobStatus
from core.tables import DEFAULT_PROJECT, job_events
from core.tables import webhook_attempts as attempts_table
from core.tables import webhook_deliveries as table
from core.tables import webhook_endpoints as endpoints_table
from core.webhooks import endpoints as webhooks
from tests.deliveries import MINUTE, claim_deliveries, list_deliveries
from tests.factories import a_completed_job, a_job, claim, in_state

WEBHOOK_EVENTS = event_names("job", for_webhooks=True)
FINALS = ["job.completed", "job.failed", "job.cancelled", "job.expired"]
OWN = {"url": "https://own.test:8443/hook?job=1", "events": ["job.completed"], "secret": None}


def an_endpoint(database: Database, *types: str, project_id: str = DEFAULT_PROJECT) -> str:
    statement = webhooks.create(project_id, "x", "https://receiver.test/", types or FINALS, signing.new_secret())
    return str(database.execute(statement)[0].id)


def an_attempt(**fields: Any) -> Attempt:
    return Attempt(datetime.now(UTC), 0.1, **fields)


@pytest.mark.parametrize("status", JobStatus)
def test_an_event_and_its_deliveries_are_written_together(database: Database, status: JobStatus) -> None:
    all_of_them = an_endpoint(database, *WEBHOOK_EVENTS)
    finals = an_endpoint(database)

    job_id, _ = in_state(database, status)

    endpoint_ids = [all_of_them, finals]
    events = database.execute(sa.select(job_events).order_by(job_events.c.seq))
    webhook_events = [event for event in events if event.type in WEBHOOK_EVENTS]
    expected_endpoints = [(e.id, endpoint_ids if e.type in FINALS else [all_of_them]) for e in webhook_events]
    columns = [(row.event_id, row.endpoint_id, row.job_id, row.event_type) for row in list_deliveries(database)]
    kinds = {event.id: event.type for event in webhook_events}
    assert sorted(columns) == sorted(
        (i, to, job_id, kinds[i]) for i, receivers in expected_endpoints for to in receivers
    )


def test_a_job_without_endpoints_causes_no_delivery(database: Database) -> None:
    disabled = an_endpoint(database)
    database.execute(webhooks.update(DEFAULT_PROJECT, disabled, {}, enable=False))

    a_completed_job(database)

    assert list_deliveries(database) == []


def test_a_jobs_own_webhook_gets_the_events_it_names(database: Database) -> None:
    job_id = a_completed_job(database, webhook=OWN)
    a_completed_job(database, webhook=OWN | {"events": ["job.failed"]})

    (row,) = list_deliveries(database)
    assert (row.job_id, row.endpoint_id, row.destination) == (job_id, None, "https://own.test:8443")
    (delivery,) = claim_deliveries(database)
    assert (delivery.webhook, delivery.endpoint_url) == (OWN, None)


def test_a_claimed_delivery_is_not_claimed_again_until_its_lease_ends(database: Database) -> None:
    an_endpoint(database)
    a_completed_job(database)

    (first,) = claim_deliveries(database)
    assert first.endpoint_url == "https://receiver.test/"
    assert claim_deliveries(database) == []

    database.execute(sa.update(table).values(due_at=sa.func.now()))
    (second,) = claim_deliveries(database)
    assert second.id == first.id
    assert not database.execute(attempts.record_successes(Success(first.id, first.lease, an_attempt(status_code=200))))
    (delivery,) = database.execute(
        attempts.record_successes(Success(second.id, second.lease, an_attempt(status_code=200)))
    )
    assert (delivery.status, delivery.attempts, delivery.lease) == ("delivered", 1, None)


def test_a_destination_that_hangs_leaves_room_for_others(database: Database) -> None:
    hanging, other_id = an_endpoint(database), an_endpoint(database)
    for _ in range(5):
        a_completed_job(database)

    first = claim_deliveries(database, per_destination=2)
    assert sorted(row.destination for row in first) == sorted([hanging] * 2 + [other_id] * 2)
    for row in first:
        if row.destination == other_id:
            database.execute(attempts.record_successes(Success(row.id, row.lease, an_attempt(status_code=200))))
    assert [row.destination for row in claim_deliveries(database, per_destination=2)] == [other_id] * 2
    assert claim_deliveries(database, per_destination=2) == []


def test_destinations_that_are_not_fast_share_their_slots_in_turn(database: Database) -> None:
    slow_id, slower_id, new_id, fast_id = (an_endpoint(database) for _ in range(4))
    for _ in range(3):
        a_completed_job(database)
    health: dict[str, Any] = {"fast": [fast_id], "slow": [slower_id, slow_id]}

    for for_others, other_ids in (
        (0, []),
        (1, [new_id]),
        (2, [new_id, slower_id]),
        (3, [new_id, slower_id, slow_id]),
        (9, [new_id, slower_id, slow_id]),
    ):
        delivery = claim_deliveries(database, per_destination=2, for_others=for_others, **health)
        assert sorted(row.destination for row in delivery) == sorted([fast_id] * 2 + other_ids)
        database.execute(sa.update(table).values(lease=None, due_at=sa.func.now()))


def test_quick_destinations_get_more_deliveries_from_slots_that_they_share(database: Database) -> None:
    quick_id, other_quick_id, fast_id = (an_endpoint(database) for _ in range(3))
    for _ in range(5):
        a_completed_job(database)
    quick = [quick_id, other_quick_id]
    health: dict[str, Any] = {"fast": [*quick, fast_id], "quick": quick, "per_quick": 4}

    for for_quick, limit, counts in (
        (9, 100, [4, 4, 2]),
        (3, 100, [4, 3, 2]),
        (0, 100, [2, 2, 2]),
        (9, 7, [3, 2, 2]),  # no destination gets its third before each has its second
    ):
        rows = claim_deliveries(database, per_destination=2, for_quick=for_quick, limit=limit, **health)
        destinations = Counter(row.destination for row in rows)
        assert sorted((destinations[quick_id], destinations[other_quick_id]), reverse=True) == counts[:2]
        assert destinations[fast_id] == counts[2]
        assert len(claim_deliveries(database, per_destination=2, for_quick=0, **health)) == sum(
            max(0, 2 - count) for count in destinations.values()
        )
        database.execute(sa.update(table).values(lease=None, due_at=sa.func.now()))


def test_successes_are_recorded_together_but_not_that_of_a_lost_lease(database: Database) -> None:
    an_endpoint(database)
    for _ in range(3):
        a_completed_job(database)
    first, second, lost = claim_deliveries(database)
    successes = [Success(row.id, row.lease, an_attempt(status_code=200, answer=row.id)) for row in (first, second)]
    successes.append(Success(lost.id, uuid4(), an_attempt(status_code=200)))

    rows = database.execute(attempts.record_successes(*successes))

    assert {row.id for row in rows} == {first.id, second.id}
    assert [row.status for row in list_deliveries(database)] == ["delivered", "delivered", "pending"]
    for row in (first, second):
        assert [(entry.number, entry.answer) for entry in database.execute(attempts.list_attempts(row.id))] == [
            (1, row.id)
        ]
    assert database.execute(attempts.list_attempts(lost.id)) == []


def test_a_claim_takes_the_longest_waiting_and_no_more_than_its_limit(database: Database) -> None:
    an_endpoint(database)
    job_ids = [a_completed_job(database) for _ in range(4)]

    assert [row.job_id for row in claim_deliveries(database, limit=3)] == job_ids[:3]


def test_the_deliveries_of_a_job_go_in_order(database: Database) -> None:
    an_endpoint(database, "job.started", "job.completed")
    a_completed_job(database)

    (delivery,) = claim_deliveries(database)
    assert delivery.event_type == "job.started"
    database.execute(attempts.record_failure(delivery.id, delivery.lease, an_attempt(), retry_in=timedelta(hours=1)))
    assert claim_deliveries(database) == []
    database.execute(sa.update(table).values(due_at=sa.func.now()))
    (delivery,) = claim_deliveries(database)
    database.execute(attempts.record_failure(delivery.id, delivery.lease, an_attempt(), retry_in=None))
    (last_delivery,) = claim_deliveries(database)
    assert last_delivery.event_type == "job.completed"


def fail(database: Database, retry_in: timedelta | None = MINUTE, **options: Any) -> None:
    (row,) = claim_deliveries(database)
    attempt = an_attempt(status_code=500, error_code="http_error", answer="no")
    database.execute(attempts.record_failure(row.id, row.lease, attempt, retry_in=retry_in, **options))


def test_attempts_are_logged_and_a_success_resets_failing_since(database: Database) -> None:
    endpoint_id = an_endpoint(database)
    a_completed_job(database)
    fail(database)
    (endpoint,) = database.execute(webhooks.get_endpoint(DEFAULT_PROJECT, endpoint_id))
    assert endpoint.failing_since is not None
    assert claim_deliveries(database) == []

    database.execute(sa.update(table).values(due_at=sa.func.now()))
    (row,) = claim_deliveries(database)
    database.execute(attempts.record_successes(Success(row.id, row.lease, an_attempt(status_code=204))))

    log = database.execute(attempts.list_attempts(row.id))
    assert [(attempt.number, attempt.status_code, attempt.answer) for attempt in log] == [
        (1, 500, "no"),
        (2, 204, None),
    ]
    (endpoint,) = database.execute(webhooks.get_endpoint(DEFAULT_PROJECT, endpoint_id))
    assert (endpoint.failing_since, endpoint.disabled_at) == (None, None)


def test_a_receiver_that_is_gone_is_disabled_at_once_and_nothing_waits_for_it(database: Database) -> None:
    gone_id, other_id = an_endpoint(database), an_endpoint(database)
    for _ in range(3):
        a_completed_job(database)
    delivery = next(row for row in claim_deliveries(database, limit=6, per_destination=1) if row.destination == gone_id)

    database.execute(
        attempts.record_failure(delivery.id, delivery.lease, an_attempt(status_code=410), retry_in=None, is_gone=True)
    )

    (endpoint,) = database.execute(webhooks.get_endpoint(DEFAULT_PROJECT, gone_id))
    assert endpoint.disabled_reason == "The receiver answered 410 Gone."
    status = {
        destination: [row.status for row in list_deliveries(database) if row.destination == destination]
        for destination in (gone_id, other_id)
    }
    assert status == {gone_id: ["failed"] * 3, other_id: ["pending"] * 3}
    a_completed_job(database)
    assert len(list_deliveries(database)) == 7


def test_an_endpoint_is_disabled_when_an_event_runs_out_and_nothing_got_through(database: Database) -> None:
    endpoint_id = an_endpoint(database)
    a_completed_job(database)
    fail(database, retry_in=None, patience=timedelta(hours=1))
    (endpoint,) = database.execute(webhooks.get_endpoint(DEFAULT_PROJECT, endpoint_id))
    assert endpoint.disabled_at is None

    database.execute(sa.update(endpoints_table).values(failing_since=sa.func.now() - timedelta(hours=2)))
    a_completed_job(database)
    fail(database, retry_in=None, patience=timedelta(hours=1))

    (endpoint,) = database.execute(webhooks.get_endpoint(DEFAULT_PROJECT, endpoint_id))
    assert str(endpoint.disabled_reason).startswith("Every delivery has failed since 20")


def test_an_event_is_redelivered_with_its_id_as_a_new_delivery(database: Database) -> None:
    an_endpoint(database)
    a_completed_job(database)
    fail(database, retry_in=None)
    (first,) = list_deliveries(database)

    (second,) = database.execute(redelivery.redeliver(DEFAULT_PROJECT, first.id))

    assert (second.event_id, second.attempts, second.status) == (first.event_id, 0, "pending")
    assert second.id != first.id
    assert not database.execute(redelivery.redeliver("proj_other", first.id))


def test_all_that_was_not_delivered_since_a_time_is_redelivered_once(database: Database) -> None:
    endpoint_id = an_endpoint(database)
    before = datetime.now(UTC)
    delivered_job = a_completed_job(database)
    (row,) = claim_deliveries(database)
    database.execute(attempts.record_successes(Success(row.id, row.lease, an_attempt(status_code=200))))
    failed_job = a_completed_job(database)
    fail(database, retry_in=None)
    database.execute(webhooks.update(DEFAULT_PROJECT, endpoint_id, {}, enable=False))
    missed_job = a_completed_job(database)
    database.execute(webhooks.update(DEFAULT_PROJECT, endpoint_id, {}, enable=True))

    assert not database.execute(redelivery.redeliver_since("proj_other", endpoint_id, before))
    assert len(database.execute(redelivery.redeliver_since(DEFAULT_PROJECT, endpoint_id, before))) == 2
    assert not database.execute(redelivery.redeliver_since(DEFAULT_PROJECT, endpoint_id, before))
    assert {row.job_id for row in claim_deliveries(database)} == {failed_job, missed_job}
    assert delivered_job


def test_a_deleted_endpoint_gets_no_more_deliveries(database: Database) -> None:
    endpoint_id = an_endpoint(database)
    a_completed_job(database)
    assert not database.execute(webhooks.delete("proj_other", endpoint_id))

    assert database.execute(webhooks.delete(DEFAULT_PROJECT, endpoint_id))

    assert claim_deliveries(database) == []
    (row,) = list_deliveries(database)
    assert (row.status, row.error_code) == ("failed", "endpoint_deleted")


def test_both_secrets_live_while_one_is_replaced(database: Database) -> None:
    endpoint_id = an_endpoint(database)
    (endpoint,) = database.execute(webhooks.get_endpoint(DEFAULT_PROJECT, endpoint_id))
    new_secret = signing.new_secret()

    (row,) = database.execute(webhooks.rotate(DEFAULT_PROJECT, endpoint_id, new_secret, keep_previous=True))

    times = [datetime.now(UTC) + delay for delay in (timedelta(0), timedelta(hours=25))]
    secrets = [signing.live_secrets(row.secret, row.previous_secret, row.previous_secret_until, time) for time in times]
    assert secrets == [[new_secret, endpoint.secret], [new_secret]]
    (alone,) = database.execute(
        webhooks.rotate(DEFAULT_PROJECT, endpoint_id, signing.new_secret(), keep_previous=False)
    )
    assert alone.previous_secret is None


def test_deleting_a_job_deletes_its_deliveries(database: Database) -> None:
    an_endpoint(database)
    job_id = a_completed_job(database)
    fail(database)

    (counts,) = database.execute(contents.delete_jobs(DEFAULT_PROJECT, [job_id]))

    assert (counts.jobs, counts.images, counts.deliveries) == (1, 1, 1)
    assert list_deliveries(database) == []
    assert not database.execute(sa.select(attempts_table))


def test_a_failure_causes_a_delivery(database: Database) -> None:
    an_endpoint(database, "job.failed")
    job, lease = a_job(), uuid4()
    database.execute(submits.submit(job))
    database.execute(claim(lease))
    database.execute(jobs.fail(job.id, UUID(str(lease)), OutOfMemory()))

    assert [row.event_type for row in list_deliveries(database)] == ["job.failed"]
