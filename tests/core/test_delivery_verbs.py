"""Every verb of a delivery against every status: only the transitions of the chart exist."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest
import sqlalchemy as sa

from core.db import Database, Statement
from core.outbox import attempts, claims, redelivery
from core.outbox.attempts import Attempt, Success
from core.status import DELIVERY_TRANSITIONS, DeliveryStatus
from core.tables import DEFAULT_PROJECT
from core.tables import webhook_deliveries as table
from core.webhooks import endpoints as webhooks
from tests.deliveries import MINUTE, an_endpoint, claim_deliveries, list_deliveries
from tests.factories import a_completed_job


def retry(delivery_id: str, lease: UUID) -> Statement[Any]:
    return attempts.record_failure(
        delivery_id, lease, Attempt(datetime.now(UTC), 0.1, status_code=500), retry_in=MINUTE
    )


def fail(delivery_id: str, lease: UUID) -> Statement[Any]:
    return attempts.record_failure(delivery_id, lease, Attempt(datetime.now(UTC), 0.1, status_code=500), retry_in=None)


def succeed(delivery_id: str, lease: UUID) -> Statement[Any]:
    return attempts.record_successes(Success(delivery_id, lease, Attempt(datetime.now(UTC), 0.1, status_code=200)))


def claim(_delivery_id: str, _lease: UUID) -> Statement[Any]:
    return claims.claim(uuid4(), limit=9, per_destination=9, length=timedelta(0), fast=[], for_others=9)


VERBS: dict[str, Callable[[str, UUID], Statement[Any]]] = {
    "claim": claim,
    "delivered": succeed,
    "failed with a retry": retry,
    "failed": fail,
}

TRANSITIONS = {
    ("delivered", DeliveryStatus.PENDING): DeliveryStatus.DELIVERED,
    ("failed with a retry", DeliveryStatus.PENDING): DeliveryStatus.PENDING,
    ("failed", DeliveryStatus.PENDING): DeliveryStatus.FAILED,
}
"""The new status by verb and status of a claimed delivery; every other pair changes nothing."""


def in_state(database: Database, status: DeliveryStatus) -> tuple[str, str, UUID]:
    """The endpoint, a delivery to it that was claimed, and the lease."""
    endpoint_id = an_endpoint(database, "https://a.test").id
    a_completed_job(database)
    (delivery,) = claim_deliveries(database)
    path = {DeliveryStatus.PENDING: [], DeliveryStatus.DELIVERED: [succeed], DeliveryStatus.FAILED: [fail]}
    for verb in path[status]:
        assert database.execute(verb(delivery.id, delivery.lease))
    (row,) = list_deliveries(database)
    assert row.status == status
    return endpoint_id, delivery.id, delivery.lease


@pytest.mark.parametrize("status", DeliveryStatus)
@pytest.mark.parametrize("verb", VERBS)
def test_a_verb_follows_only_the_transitions(database: Database, verb: str, status: DeliveryStatus) -> None:
    _, delivery_id, lease = in_state(database, status)
    before = list_deliveries(database)

    updated = database.execute(VERBS[verb](delivery_id, lease))

    (after,) = list_deliveries(database)
    if (verb, status) in TRANSITIONS:
        assert [delivery.id for delivery in updated] == [delivery_id]
        assert after.status == TRANSITIONS[verb, status]
        assert after.status == status or after.status in DELIVERY_TRANSITIONS[status]
        assert (after.attempts, after.lease) == (before[0].attempts + 1, None)
    else:
        assert not updated
        assert [after] == before


@pytest.mark.parametrize("status", DeliveryStatus)
@pytest.mark.parametrize("code", ["endpoint_deleted", "endpoint_disabled"])
def test_only_pending_deliveries_are_given_up(database: Database, code: str, status: DeliveryStatus) -> None:
    endpoint_id, _, _ = in_state(database, status)
    before = list_deliveries(database)

    if code == "endpoint_deleted":
        database.execute(webhooks.delete(DEFAULT_PROJECT, endpoint_id))
    else:
        database.execute(webhooks.update(DEFAULT_PROJECT, endpoint_id, {}, enable=False))

    (after,) = list_deliveries(database)
    if status is DeliveryStatus.PENDING:
        assert (after.status, after.error_code) == (DeliveryStatus.FAILED, code)
    else:
        assert [after] == before


@pytest.mark.parametrize("status", DeliveryStatus)
def test_a_redelivery_leaves_the_delivery_as_it_is(database: Database, status: DeliveryStatus) -> None:
    _, delivery_id, _ = in_state(database, status)
    (before,) = list_deliveries(database)

    (new,) = database.execute(redelivery.redeliver(DEFAULT_PROJECT, delivery_id))

    assert new.status == DeliveryStatus.PENDING
    assert database.execute(sa.select(table).where(table.c.id == delivery_id)) == [before]


def test_the_tests_cover_every_transition() -> None:
    covered = {(status, follower) for (_verb, status), follower in TRANSITIONS.items() if follower != status}

    assert covered == {(status, follower) for status in DeliveryStatus for follower in DELIVERY_TRANSITIONS[status]}
