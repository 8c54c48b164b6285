"""Delivers webhooks: `python -m worker.webhooks.deliver`. Any number may run; only their threads wait for receivers.

A plain loop and no Celery queue: each row has a schedule of its own, so the database must be polled anyway, and
webhooks must be delivered when Redis does not work (docs/decisions/0004-the-sweep-is-a-loop.md).

The loop claims deliveries and reads their jobs, threads send them, and one more thread records the outcomes
(`worker.webhooks.recorder`).
"""

import logging
import signal
import threading
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from datetime import timedelta
from queue import Empty, SimpleQueue
from uuid import UUID, uuid4

from core import queries
from core.batches import queries as batch_queries
from core.connections import IdleConnections
from core.db import UNAVAILABLE, Database
from core.egress import Egress
from core.errors import first_line
from core.outbox import claims
from core.permissions import make_private
from core.redis.changes import ChangeListener
from core.rows.batch import ShownBatch
from core.rows.job import JobRow
from core.rows.webhook import ClaimedDelivery
from core.settings import Settings
from core.settings.environment import log_unknown, read_or_exit
from core.telemetry import logs, metrics, tracing
from worker.webhooks.claim_pause import ClaimPause
from worker.webhooks.endpoint_health import EndpointHealth
from worker.webhooks.recorder import Recorder
from worker.webhooks.sender import Sender

log = logging.getLogger("worker.webhooks.deliver")  # the module may be `__main__`

RECORD_TIME = timedelta(seconds=15)
"""A claim lasts this much longer than a delivery may take: time to record its outcome."""

POLL_ALONE_SECONDS = 0.2
"""Longest interval of polling while Redis is away, so that an event waits little for its delivery."""


class Deliverer:
    """Claims due deliveries and sends them, many at a time."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._database = Database(settings, name="safelight-deliver")
        self._connections = IdleConnections()
        self._sender = Sender(settings, Egress.open(settings, self._connections))
        self._threads = ThreadPoolExecutor(settings.webhook_concurrency, thread_name_prefix="deliver")
        self._endpoint_health = EndpointHealth(settings.webhook_concurrency)
        self._lock = threading.Lock()
        self._under_way: dict[tuple[str, UUID], tuple[str, bool]] = {}
        """The destination of each delivery under way by id and lease, and whether it has a slot that others share."""
        self._news: SimpleQueue[bool] = SimpleQueue()
        """Wakes the loop; True: because of a change. Only this queue may be written to by a signal handler."""
        self._changes = ChangeListener(settings, lambda: self._news.put(True))
        self._recorder = Recorder(settings, self._database, self._end)
        self._claimed_at = 0.0
        self._claim_pause = ClaimPause()
        self._is_stopping = False

    def run(self) -> None:
        """Deliver until stopped."""
        self._changes.start()
        is_change = False
        while not self._is_stopping:
            try:
                self._claim_pause.record(is_change=is_change, count=self.take())
            except UNAVAILABLE as error:
                log.warning("the database is unavailable: %s", first_line(error))
            is_change = self._wait()
        self._changes.close()

    def stop(self) -> None:
        """Claim nothing more. Safe to call from a signal handler."""
        self._is_stopping = True
        self._news.put(False)

    def close(self) -> None:
        """Wait for the deliveries under way and close the connections."""
        self._threads.shutdown()
        self._recorder.close()
        self._connections.close()
        self._database.close()

    def take(self) -> int:
        """Start to send due deliveries, as many as there are free slots. Returns their number."""
        self._claimed_at = time.monotonic()
        rows, fast = self._claim()
        if not rows:
            return 0
        subjects = self._read_subjects(rows)
        for row in rows:
            subject = subjects.get(row.job_id or row.batch_id)
            if subject is None:
                continue  # deleted, and the delivery with it
            with self._lock:
                self._under_way[row.id, row.lease] = row.destination, row.destination not in fast
            self._threads.submit(self._send, row, subject)
        return len(rows)

    def _claim(self) -> tuple[Sequence[ClaimedDelivery], frozenset[str]]:
        """Deliveries to send now, and the destinations that are fast."""
        settings, health = self._settings, self._endpoint_health
        with self._lock:
            under_way = list(self._under_way.values())
        in_transit = Counter(destination for destination, _ in under_way)
        per_destination = settings.webhook_destination_concurrency
        additional = sum(max(0, count - per_destination) for count in in_transit.values())
        fast = health.list_fast()
        room = settings.webhook_concurrency - len(under_way)
        if room <= 0:
            return [], frozenset()
        rows = self._database.execute(
            claims.claim(
                uuid4(),
                limit=room,
                per_destination=per_destination,
                length=settings.webhook_timeout + RECORD_TIME,
                fast=fast,
                slow=health.list_slow(),
                for_others=health.shared_slots - sum(is_shared for _, is_shared in under_way),
                quick=health.list_quick(),
                per_quick=settings.webhook_quick_concurrency,
                for_quick=health.additional_slots - additional,
            )
        )
        return rows, frozenset(fast)

    def _read_subjects(self, rows: Sequence[ClaimedDelivery]) -> Mapping[str | None, JobRow | ShownBatch]:
        """The jobs and batches of deliveries, as they are now, by their ids."""
        subjects: dict[str | None, JobRow | ShownBatch] = {}
        if job_ids := {row.job_id for row in rows if row.job_id is not None}:
            subjects |= {job.id: job for job in self._database.execute(queries.get_jobs(job_ids))}
        for batch_id in {row.batch_id for row in rows if row.batch_id is not None}:
            subjects |= {batch.id: batch for batch in self._database.execute(batch_queries.get_batch_by_id(batch_id))}
        return subjects

    def _send(self, row: ClaimedDelivery, subject: JobRow | ShownBatch) -> None:
        try:
            with logs.add_ids(project_id=row.project_id, job_id=row.job_id, batch_id=row.batch_id):
                outcome = self._sender.send(row, subject)
        except Exception:  # whatever it was, it concerns this delivery alone, which becomes due again
            log.exception("delivery %s was not sent", row.id)
            self._end([row])
            return
        self._endpoint_health.record(row.destination, outcome.attempt.seconds)
        self._recorder.add(outcome)

    def _end(self, rows: Sequence[ClaimedDelivery]) -> None:
        """Free the slots of deliveries."""
        with self._lock:
            for row in rows:
                del self._under_way[row.id, row.lease]
        self._news.put(False)

    def _wait(self) -> bool:
        """Wait until a delivery has ended, something has changed, or the next poll is due. Returns whether a change."""
        poll = self._settings.webhook_poll.total_seconds()
        is_change = False
        try:
            is_change = self._news.get(timeout=poll if self._changes.is_listening else min(poll, POLL_ALONE_SECONDS))
            may_claim_at = self._claimed_at + self._claim_pause.seconds
            while is_change and (pause := may_claim_at - time.monotonic()) > 0:
                is_change = self._news.get(timeout=pause)
        except Empty:
            self._connections.close_expired()
        with suppress(Empty):
            while True:
                self._news.get_nowait()
        return is_change


def main() -> None:
    """Deliver until SIGTERM or SIGINT."""
    settings = read_or_exit()
    make_private(settings.data_dir)
    logs.install(settings)
    log_unknown()
    metrics.serve(settings.metrics_host, settings.metrics_port)
    tracing.install("safelight-deliver")
    deliverer = Deliverer(settings)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: deliverer.stop())
    log.info("delivering, up to %d at a time", settings.webhook_concurrency)
    deliverer.run()
    deliverer.close()


if __name__ == "__main__":
    main()
