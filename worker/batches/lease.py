"""The lease of a batch: who works on it, and until when."""

import threading
import time
from collections.abc import Iterator
from datetime import timedelta
from typing import TypeVar

from core.batches import transitions as batches
from core.db import Database, Statement
from core.rows.batch import BatchRow, ClaimedBatch

Item = TypeVar("Item")

LEASE = timedelta(seconds=30)
RENEWAL_SECONDS = 5.0


class Stopping(Exception):
    """The batch processor is about to stop."""


class Superseded(Exception):
    """The batch was cancelled, or another batch processor has claimed it."""


class BatchLease:
    """The lease of a claimed batch.

    renewal: seconds after which it is renewed. stop: ends long work when it is set.
    """

    def __init__(
        self,
        database: Database,
        batch: ClaimedBatch,
        renewal: float = RENEWAL_SECONDS,
        stop: threading.Event | None = None,
    ) -> None:
        self._database = database
        self._stop = stop or threading.Event()
        self._renewal = renewal
        self._renewed_at = time.monotonic()
        self.batch = batch
        self.token = batch.lease

    def renew(self) -> None:
        """Renew the lease. Raises Superseded when it is lost."""
        self._renewed_at = time.monotonic()
        if not self._database.execute(batches.renew(self.batch.id, self.token, LEASE)):
            raise Superseded

    def renew_during(self, items: Iterator[Item]) -> Iterator[Item]:
        """Iterate over something long, and renew the lease meanwhile. Raises Superseded, Stopping."""
        is_stopping, now = self._stop.is_set, time.monotonic  # looked up once, as a file has 50,000 lines
        for item in items:
            if is_stopping():
                raise Stopping
            if now() - self._renewed_at > self._renewal:
                self.renew()
            yield item

    def renew_if_due(self) -> None:
        """Renew the lease if that was not done for a while. Raises Superseded."""
        if time.monotonic() - self._renewed_at > self._renewal:
            self.renew()

    def execute(self, statement: Statement[BatchRow]) -> BatchRow:
        """The row of a statement that shows the token. Raises Superseded when the lease is lost."""
        rows = self._database.execute(statement)
        if not rows:
            raise Superseded
        return rows[0]
