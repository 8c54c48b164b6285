"""Webhook endpoints and deliveries in the database, and a deliverer that sends them."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

import sqlalchemy as sa

from core.db import Database
from core.outbox import claims, signing
from core.rows.webhook import ClaimedDelivery, EndpointRow
from core.settings import Settings
from core.tables import DEFAULT_PROJECT
from core.tables import webhook_deliveries as table
from core.webhooks import endpoints
from tests.stack import settings_of
from tests.waiting import FACTOR, PATIENCE
from worker.webhooks.deliver import Deliverer

EVENTS = ["job.completed", "job.failed"]
MINUTE = timedelta(minutes=1)
TIMEOUT = 2.0 * FACTOR
"""Seconds that a deliverer of `delivering` waits for an answer."""


def settings_for(database: Database, directory: Path, **settings: str) -> Settings:
    """Settings of a deliverer that may send to this machine."""
    url = database.engine.url.set(drivername="postgresql").render_as_string(False)
    return settings_of(
        {
            "SAFELIGHT_DATABASE_URL": url,
            "SAFELIGHT_DATA_DIR": str(directory),
            "SAFELIGHT_EGRESS_ALLOW": "127.0.0.1",
            "SAFELIGHT_WEBHOOK_TIMEOUT": str(5 * FACTOR),
            **settings,
        }
    )


@contextmanager
def delivering(database: Database, directory: Path, **settings: str) -> Iterator[Deliverer]:
    """A deliverer at work in this process."""
    times = {"SAFELIGHT_WEBHOOK_POLL": "0.05", "SAFELIGHT_WEBHOOK_TIMEOUT": str(TIMEOUT)}
    deliverer = Deliverer(settings_for(database, directory, **times | settings))
    thread = threading.Thread(target=deliverer.run, daemon=True)
    thread.start()
    try:
        yield deliverer
    finally:  # else it would deliver what later tests make
        deliverer.stop()
        thread.join(PATIENCE)
        deliverer.close()


def an_endpoint(database: Database, url: str, secret: str | None = None) -> EndpointRow:
    """A new endpoint for EVENTS."""
    statement = endpoints.create(DEFAULT_PROJECT, "x", url, EVENTS, secret or signing.new_secret())
    return database.execute(statement)[0]


def list_deliveries(database: Database, endpoint_id: str | None = None) -> list[sa.Row[Any]]:
    """All deliveries, or those to an endpoint, the oldest first."""
    of_endpoint = [] if endpoint_id is None else [table.c.endpoint_id == endpoint_id]
    return list(database.execute(sa.select(table).where(*of_endpoint).order_by(table.c.seq)))


def claim_deliveries(
    database: Database, *, limit: int = 100, per_destination: int = 100, **health: Any
) -> list[ClaimedDelivery]:
    """Claim deliveries. All destinations count as fast unless `health` says otherwise."""
    all_fast = {"fast": {row.destination for row in list_deliveries(database)}, "for_others": limit}
    options: dict[str, Any] = all_fast | health
    return list(
        database.execute(claims.claim(uuid4(), limit=limit, per_destination=per_destination, length=MINUTE, **options))
    )
