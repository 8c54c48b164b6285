"""Delivers webhooks: `python -m worker.webhooks.deliver`. Any number may run; only their threads wait for receivers.

A plain loop and no Celery queue: each row has a schedule of its own, so the database must be polled anyway, and
webhooks must be delivered when Redis does not work (docs/decisions/0004-the-sweep-is-a-loop.md).
"""

import logging
import secrets
import signal
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from importlib.metadata import version
from uuid import uuid4

from core import logs, metrics, queries
from core.batches import queries as batch_queries
from core.batches.schemas import BatchObject, batch_object
from core.db import UNAVAILABLE, Database
from core.egress import DeliveryError, Egress, Response
from core.errors import first_line
from core.outbox import claims, deliveries, signing
from core.outbox.deliveries import Attempt
from core.permissions import make_private
from core.responses.job import JobObject, job_object
from core.retry_after import parse_retry_after
from core.settings import Settings
from core.settings.environment import log_unknown, read_or_exit
from core.storage import Storage
from core.webhook_rows import ClaimedDelivery
from core.webhooks.events import Event
from worker.webhooks.endpoint_health import EndpointHealth

log = logging.getLogger("worker.webhooks.deliver")  # the module may be `__main__`

AGENT = f"Safelight/{version('safelight')}"
GONE = 410
MAX_ANSWER_CHARACTERS = 1024
"""This much of an answer is stored for the owner to read."""

RECORD_TIME = timedelta(seconds=15)
"""A claim lasts this much longer than a delivery may take: time to record its outcome."""

MAX_WAIT = timedelta(days=1)
"""Longest Retry-After of a receiver."""


class Deliverer:
    """Claims due deliveries and sends them, many at a time."""

    def __init__(self, settings: Settings, egress: Egress | None = None) -> None:
        self._settings = settings
        self._database = Database(settings, name="safelight-deliver")
        self._storage = Storage(settings)
        self._egress = egress or Egress.open(settings)
        self._schedule = [timedelta(seconds=float(part)) for part in settings.webhook_schedule.split(",")]
        self._threads = ThreadPoolExecutor(settings.webhook_concurrency, thread_name_prefix="deliver")
        self._endpoint_health = EndpointHealth(settings.webhook_concurrency)
        self._under_way = 0
        self._shared_under_way = 0
        self._changes = threading.Condition()
        self._has_ended = False
        self._is_stopping = False

    def run(self) -> None:
        """Deliver until stopped."""
        while not self._is_stopping:
            with self._changes:
                self._has_ended = False
            try:
                count = self.take()
            except UNAVAILABLE as error:
                log.warning("the database is unavailable: %s", first_line(error))
                count = 0
            with self._changes:
                if not (count or self._has_ended or self._is_stopping):
                    self._changes.wait(self._settings.webhook_poll.total_seconds())

    def stop(self) -> None:
        """Claim nothing more. Safe to call from a signal handler."""
        self._is_stopping = True

    def close(self) -> None:
        """Wait for the deliveries under way and close the connections."""
        self._threads.shutdown()
        self._database.close()

    def take(self) -> int:
        """Start to send due deliveries, as many as there are free slots. Returns their number."""
        with self._changes:
            room = self._settings.webhook_concurrency - self._under_way
            shared_slots = self._endpoint_health.shared_slots - self._shared_under_way
        if room <= 0:
            return 0
        fast = self._endpoint_health.list_fast()
        rows = self._database.execute(
            claims.claim(
                uuid4(),
                limit=room,
                per_destination=self._settings.webhook_destination_concurrency,
                length=self._settings.webhook_timeout + RECORD_TIME,
                fast=fast,
                slow=self._endpoint_health.list_slow(),
                for_others=shared_slots,
            )
        )
        fast_set = frozenset(fast)
        for row in rows:
            is_shared = row.destination not in fast_set
            with self._changes:
                self._under_way += 1
                self._shared_under_way += is_shared
            self._threads.submit(self._send, row, is_shared)
        return len(rows)

    def _send(self, row: ClaimedDelivery, is_shared: bool) -> None:
        try:
            with logs.add_ids(project_id=row.project_id, job_id=row.job_id, batch_id=row.batch_id):
                self.send(row)
        except UNAVAILABLE as error:
            log.warning("delivery %s: the database is unavailable, sent again later: %s", row.id, first_line(error))
        except Exception:  # whatever it was, it concerns this delivery alone, which becomes due again
            log.exception("delivery %s was not sent", row.id)
        finally:
            with self._changes:
                self._under_way -= 1
                self._shared_under_way -= is_shared
                self._has_ended = True
                self._changes.notify()

    def send(self, row: ClaimedDelivery) -> None:
        """Send one claimed delivery and record the outcome."""
        subject = self._subject(row)
        if subject is None:
            return  # deleted, and the delivery with it
        began = time.monotonic()
        answer: Response | None = None
        error_code: str | None = "endpoint_deleted"
        url, keys = _receiver(row)
        if url is not None:
            try:
                body = _body(row, subject)
                answer = self._egress.post(url, body, _headers(row, keys, body), self._timeout)
                error_code = None if 200 <= answer.status < 300 else "http_error"
            except DeliveryError as error:
                error_code = error.code
        attempt = Attempt(
            started_at=row.claimed_at,
            seconds=time.monotonic() - began,
            status_code=None if answer is None else answer.status,
            error_code=error_code,
            answer=None if answer is None else _printable(answer.body),
        )
        self._endpoint_health.record(row.destination, attempt.seconds)
        self._record(row, attempt, answer, may_retry=url is not None)

    @property
    def _timeout(self) -> float:
        return self._settings.webhook_timeout.total_seconds()

    def _subject(self, row: ClaimedDelivery) -> JobObject | BatchObject | None:
        """The job or batch of an event, as it is now."""
        if row.batch_id is not None:
            batch_rows = self._database.execute(batch_queries.get_batch_by_id(row.batch_id))
            return batch_object(batch_rows[0], self._settings.base_url) if batch_rows else None
        job_rows = self._database.execute(queries.get_job(row.project_id, row.job_id or ""))
        return job_object(job_rows[0], self._settings.base_url, self._storage.url) if job_rows else None

    def _record(self, row: ClaimedDelivery, attempt: Attempt, answer: Response | None, *, may_retry: bool) -> None:
        if attempt.error_code is None:
            self._database.execute(deliveries.record_success(row.id, row.lease, attempt))
            metrics.WEBHOOK_ATTEMPTS.labels("delivered").inc()
            lag = (row.claimed_at - row.event_at).total_seconds() + attempt.seconds
            metrics.WEBHOOK_LAG_SECONDS.observe(max(0.0, lag))
            return
        is_gone = answer is not None and answer.status == GONE
        wait = self._wait(row.attempts, answer) if may_retry and not is_gone else None
        patience = sum(self._schedule, timedelta(0)) / 2
        self._database.execute(
            deliveries.record_failure(row.id, row.lease, attempt, retry_in=wait, is_gone=is_gone, patience=patience)
        )
        metrics.WEBHOOK_ATTEMPTS.labels("retried" if wait else "given_up").inc()
        result = attempt.status_code or attempt.error_code
        log.info(
            "delivery %s to %s: %s, %s", row.id, row.destination, result, f"again in {wait}" if wait else "given up"
        )

    def _wait(self, attempts: int, answer: Response | None) -> timedelta | None:
        """Until the next attempt, as the schedule says, up to a tenth more or less. None: there is none."""
        if attempts >= len(self._schedule):
            return None
        wait = self._schedule[attempts] * (0.9 + secrets.randbelow(2001) / 10_000)
        header = None if answer is None else answer.headers.get("retry-after")
        return max(wait, parse_retry_after(header, longest=MAX_WAIT) or wait)


def _receiver(row: ClaimedDelivery) -> tuple[str | None, list[str]]:
    """The URL of a delivery, and the secrets that sign it."""
    if row.endpoint_id is not None:
        return row.endpoint_url, signing.live_secrets(
            row.endpoint_secret, row.endpoint_previous_secret, row.endpoint_previous_secret_until, row.claimed_at
        )
    if row.webhook is None:
        return None, []
    secret = row.webhook.get("secret")
    return row.webhook["url"], [secret] if secret else []


def _body(row: ClaimedDelivery, subject: JobObject | BatchObject) -> bytes:
    event = Event(id=row.event_id, type=row.event_type, created_at=int(row.event_at.timestamp()), data=subject)
    return event.model_dump_json().encode()


def _headers(row: ClaimedDelivery, keys: list[str], body: bytes) -> dict[str, str]:
    signature = signing.signed(keys, row.event_id, int(row.claimed_at.timestamp()), body)
    return {"Content-Type": "application/json", "User-Agent": AGENT, **signature}


def _printable(body: bytes) -> str:
    """The beginning of an answer, without characters that a terminal or Postgres does not accept."""
    text = body[: 4 * MAX_ANSWER_CHARACTERS].decode("utf-8", "replace")[:MAX_ANSWER_CHARACTERS]
    return "".join(character if character.isprintable() or character == "\n" else "\ufffd" for character in text)


def main() -> None:
    """Deliver until SIGTERM or SIGINT."""
    settings = read_or_exit()
    make_private(settings.data_dir)
    logs.install(settings)
    log_unknown()
    metrics.serve(settings.metrics_host, settings.metrics_port)
    deliverer = Deliverer(settings)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: deliverer.stop())
    log.info("delivering, up to %d at a time", settings.webhook_concurrency)
    deliverer.run()
    deliverer.close()


if __name__ == "__main__":
    main()
