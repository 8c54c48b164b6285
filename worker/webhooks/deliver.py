"""Delivering webhooks: `python -m worker.webhooks.deliver`. Any number may run; only their threads wait for receivers.

A plain loop rather than a Celery queue: what is due is told by the database's rows, each with a schedule of its own, so
a ring could only say what a look tells anyway, and webhooks must leave when Redis does not work (docs/decisions/0004).
"""

import logging
import secrets
import signal
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from importlib.metadata import version
from uuid import uuid4

from core import queries
from core.batches import transitions as batches
from core.batches.schemas import BatchObject, batch_object
from core.db import UNAVAILABLE, Database
from core.egress import Answer, Egress, Unreached
from core.errors import first_line
from core.outbox import claims, deliveries, signing
from core.outbox.deliveries import Attempt
from core.responses.job import JobObject, job_object
from core.rows import ClaimedDelivery
from core.settings import Settings
from core.storage import Storage
from core.webhooks.events import Event
from worker.webhooks.endpoint_health import EndpointHealth

log = logging.getLogger(__name__)

AGENT = f"Safelight/{version('safelight')}"
GONE = 410
KEPT = 1024
"""Characters of an answer that are kept for the owner to read."""

SPARE = timedelta(seconds=15)
"""How much longer than a delivery may take nobody else takes it up: time to write down what came of it."""

MAX_WAIT = timedelta(days=1)
"""No receiver's Retry-After reaches further."""


class Deliverer:
    """Takes what is due and sends it, many at a time."""

    def __init__(self, settings: Settings, egress: Egress | None = None) -> None:
        self._settings = settings
        self._database = Database(settings, name="safelight-deliver")
        self._storage = Storage(settings)
        self._egress = egress or Egress.open(settings)
        self._schedule = [timedelta(seconds=float(part)) for part in settings.webhook_schedule.split(",")]
        self._threads = ThreadPoolExecutor(settings.webhook_concurrency, thread_name_prefix="deliver")
        self._endpoint_health = EndpointHealth(settings.webhook_concurrency)
        self._under_way = 0
        self._others_under_way = 0
        self._news = threading.Condition()
        self._is_over = False
        self._stopped = False

    def run(self) -> None:
        """Deliver until stopped."""
        while not self._stopped:
            with self._news:
                self._is_over = False
            try:
                taken = self.take()
            except UNAVAILABLE as error:
                log.warning("the database is away: %s", first_line(error))
                taken = 0
            with self._news:
                if not (taken or self._is_over or self._stopped):
                    self._news.wait(self._settings.webhook_poll.total_seconds())

    def stop(self) -> None:
        """Take nothing more. Safe to call from a signal handler."""
        self._stopped = True

    def close(self) -> None:
        """Wait for what is under way and close the connections."""
        self._threads.shutdown()
        self._database.close()

    def take(self) -> int:
        """Begin to send what is due, as far as there is room. Returns how many that is."""
        with self._news:
            room = self._settings.webhook_concurrency - self._under_way
            for_others = self._endpoint_health.for_others - self._others_under_way
        if room <= 0:
            return 0
        quick = self._endpoint_health.quick()
        rows = self._database.execute(
            claims.claim(
                uuid4(),
                limit=room,
                per_destination=self._settings.webhook_destination_concurrency,
                length=self._settings.webhook_timeout + SPARE,
                quick=quick,
                slow=self._endpoint_health.slow(),
                for_others=for_others,
            )
        )
        known = frozenset(quick)
        for row in rows:
            is_other = row.destination not in known
            with self._news:
                self._under_way += 1
                self._others_under_way += is_other
            self._threads.submit(self._send, row, is_other)
        return len(rows)

    def _send(self, row: ClaimedDelivery, is_other: bool) -> None:
        try:
            self.send(row)
        except UNAVAILABLE as error:
            log.warning("delivery %s: the database is away, it will be sent again: %s", row.id, first_line(error))
        except Exception:  # whatever it was, it concerns this delivery alone, which will be due again
            log.exception("delivery %s was not sent", row.id)
        finally:
            with self._news:
                self._under_way -= 1
                self._others_under_way -= is_other
                self._is_over = True
                self._news.notify()

    def send(self, row: ClaimedDelivery) -> None:
        """Send one delivery that was claimed, and write down what came of it."""
        subject = self._subject(row)
        if subject is None:
            return  # deleted, and the delivery with it
        began = time.monotonic()
        answer: Answer | None = None
        error_code: str | None = "endpoint_deleted"
        url, keys = _receiver(row)
        if url is not None:
            try:
                body = _body(row, subject)
                answer = self._egress.post(url, body, _headers(row, keys, body), self._timeout)
                error_code = None if 200 <= answer.status < 300 else "http_error"
            except Unreached as error:
                error_code = error.code
        attempt = Attempt(
            started_at=row.claimed_at,
            seconds=time.monotonic() - began,
            status_code=None if answer is None else answer.status,
            error_code=error_code,
            answer=None if answer is None else _legible(answer.body),
        )
        self._endpoint_health.note(row.destination, attempt.seconds)
        self._record(row, attempt, answer, may_retry=url is not None)

    @property
    def _timeout(self) -> float:
        return self._settings.webhook_timeout.total_seconds()

    def _subject(self, row: ClaimedDelivery) -> JobObject | BatchObject | None:
        """What an event is about, as it is now."""
        if row.batch_id is not None:
            batch_rows = self._database.execute(batches.get_batch_by_id(row.batch_id))
            return batch_object(batch_rows[0], self._settings.base_url) if batch_rows else None
        job_rows = self._database.execute(queries.get_job(row.project_id, row.job_id or ""))
        return job_object(job_rows[0], self._settings.base_url, self._storage.url) if job_rows else None

    def _record(self, row: ClaimedDelivery, attempt: Attempt, answer: Answer | None, *, may_retry: bool) -> None:
        if attempt.error_code is None:
            self._database.execute(deliveries.delivered(row.id, row.lease, attempt))
            return
        gone = answer is not None and answer.status == GONE
        wait = self._wait(row.attempts, answer) if may_retry and not gone else None
        patience = sum(self._schedule, timedelta(0)) / 2
        self._database.execute(
            deliveries.failed(row.id, row.lease, attempt, retry_in=wait, gone=gone, patience=patience)
        )
        what = attempt.status_code or attempt.error_code
        log.info("delivery %s to %s: %s, %s", row.id, row.destination, what, f"again in {wait}" if wait else "given up")

    def _wait(self, attempts: int, answer: Answer | None) -> timedelta | None:
        """Until the next attempt, up to a tenth more or less than the schedule says; None: there is none."""
        if attempts >= len(self._schedule):
            return None
        wait = self._schedule[attempts] * (0.9 + secrets.randbelow(2001) / 10_000)
        asked = None if answer is None else retry_after(answer.headers.get("retry-after"), datetime.now(UTC))
        return wait if asked is None else max(wait, min(asked, MAX_WAIT))


def retry_after(text: str | None, now: datetime) -> timedelta | None:
    """What a receiver asks for, in seconds or as a date; None where it asks for nothing that can be read."""
    if text is None:
        return None
    if text.strip().isascii() and text.strip().isdigit():
        return timedelta(seconds=min(int(text[:12]), MAX_WAIT.total_seconds()))
    try:
        moment = parsedate_to_datetime(text)
    except ValueError:
        return None
    return max(timedelta(0), (moment if moment.tzinfo else moment.replace(tzinfo=UTC)) - now)


def _receiver(row: ClaimedDelivery) -> tuple[str | None, list[str]]:
    """Where a delivery goes, and the secrets that sign it."""
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
    signed = signing.signed(keys, row.event_id, int(row.claimed_at.timestamp()), body)
    return {"Content-Type": "application/json", "User-Agent": AGENT, **signed}


def _legible(body: bytes) -> str:
    """The beginning of an answer, with nothing in it that a terminal or Postgres would stumble over."""
    text = body[: 4 * KEPT].decode("utf-8", "replace")[:KEPT]
    return "".join(character if character.isprintable() or character == "\n" else "\ufffd" for character in text)


def main() -> None:
    """Deliver until told to stop."""
    settings = Settings()
    logging.basicConfig(level=settings.log_level.upper(), format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    deliverer = Deliverer(settings)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: deliverer.stop())
    log.info("delivering, up to %d at a time", settings.webhook_concurrency)
    deliverer.run()
    deliverer.close()


if __name__ == "__main__":
    main()
