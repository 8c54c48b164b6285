"""What waits for an endpoint that is disabled or deleted: nothing of it is sent, and all of it is given up in parts."""

from collections import Counter
from datetime import UTC, datetime, timedelta
from uuid import uuid4

import pytest
import sqlalchemy as sa

from core.db import Database
from core.outbox import attempts, claims, deliveries
from core.outbox.attempts import Attempt
from core.tables import DEFAULT_PROJECT
from core.tables import webhook_deliveries as table
from core.webhooks import endpoints as webhooks
from tests.deliveries import an_endpoint
from tests.factories import a_completed_job

OWN = {"url": "https://own.test:8443/hook?job=1", "events": ["job.completed"], "secret": None}
EXTRA = 250


def overflow(database: Database, endpoint_id: str) -> None:
    """Let more deliveries wait for an endpoint than are given up at once."""
    job_id = a_completed_job(database)
    copies = sa.select(
        sa.literal(DEFAULT_PROJECT), sa.literal(job_id), sa.literal(endpoint_id), sa.literal(endpoint_id),
        sa.func.concat("evt_", sa.func.generate_series(2, deliveries.GIVE_UP_LIMIT + EXTRA)),
        sa.literal("job.completed"), sa.func.now(),
    )  # fmt: skip
    columns = ["project_id", "job_id", "endpoint_id", "destination", "event_id", "event_type", "event_at"]
    database.execute(sa.insert(table).from_select(columns, copies))


def states(database: Database, endpoint_id: str) -> Counter[tuple[str, str | None]]:
    rows = database.execute(sa.select(table.c.status, table.c.error_code).where(table.c.endpoint_id == endpoint_id))
    return Counter((row.status, row.error_code) for row in rows)


def claimed_destinations(database: Database, *fast: str) -> set[str]:
    found = claims.claim(
        uuid4(), limit=100, per_destination=10, length=timedelta(minutes=1), fast=list(fast), for_others=10
    )
    return {row.destination for row in database.execute(found)}


def give_up_the_rest(database: Database) -> list[int]:
    """As the sweep does. Returns how many each statement gave up."""
    counts = []
    while rows := database.execute(deliveries.give_up_unreachable(100)):
        counts.append(len(rows))
    return counts


@pytest.mark.parametrize("reason", ["endpoint_disabled", "endpoint_deleted"])
def test_an_endpoint_that_goes_is_sent_nothing_and_the_sweep_gives_up_the_rest(database: Database, reason: str) -> None:
    endpoint_id, other = an_endpoint(database, "https://a.test").id, an_endpoint(database, "https://a.test").id
    overflow(database, endpoint_id)
    a_completed_job(database, webhook=OWN)

    if reason == "endpoint_deleted":
        database.execute(webhooks.delete(DEFAULT_PROJECT, endpoint_id))
    else:
        database.execute(webhooks.update(DEFAULT_PROJECT, endpoint_id, {}, enable=False))

    # The completed job with its own webhook caused one more delivery to the endpoint.
    assert states(database, endpoint_id) == {("failed", reason): deliveries.GIVE_UP_LIMIT, ("pending", None): EXTRA + 1}
    assert claimed_destinations(database, endpoint_id) == {other, "https://own.test:8443"}
    assert give_up_the_rest(database) == [100, 100, 51]
    assert states(database, endpoint_id) == {("failed", reason): deliveries.GIVE_UP_LIMIT + EXTRA + 1}
    assert states(database, other) == {("pending", None): 2}


def test_a_receiver_that_is_gone_has_a_bounded_part_given_up_at_once(database: Database) -> None:
    endpoint_id = an_endpoint(database, "https://a.test").id
    overflow(database, endpoint_id)
    minute = timedelta(minutes=1)
    claim = claims.claim(uuid4(), limit=1, per_destination=1, length=minute, fast=[endpoint_id], for_others=0)
    (delivery,) = database.execute(claim)

    attempt = Attempt(datetime.now(UTC), 0.1, status_code=410, error_code="http_error")
    database.execute(attempts.record_failure(delivery.id, delivery.lease, attempt, retry_in=None, is_gone=True))

    assert states(database, endpoint_id) == {
        ("failed", "http_error"): 1,
        ("failed", "endpoint_disabled"): deliveries.GIVE_UP_LIMIT,
        ("pending", None): EXTRA - 1,
    }
    assert claimed_destinations(database, endpoint_id) == set()


def test_what_waited_when_an_endpoint_was_disabled_is_not_sent_once_it_is_enabled(database: Database) -> None:
    endpoint_id = an_endpoint(database, "https://a.test").id
    overflow(database, endpoint_id)
    assert not database.execute(deliveries.give_up_waiting(endpoint_id, 100))  # it is enabled
    database.execute(webhooks.update(DEFAULT_PROJECT, endpoint_id, {}, enable=False))

    while database.execute(deliveries.give_up_waiting(endpoint_id, 100)):
        pass
    database.execute(webhooks.update(DEFAULT_PROJECT, endpoint_id, {}, enable=True))

    assert states(database, endpoint_id) == {("failed", "endpoint_disabled"): deliveries.GIVE_UP_LIMIT + EXTRA}
    assert claimed_destinations(database, endpoint_id) == set()
