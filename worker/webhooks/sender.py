"""Sends one delivery: its body, its signature, and what its answer means."""

import time
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import version

from core.batches.schemas import BatchObject, batch_object
from core.connections import DeliveryError, Response
from core.egress import Egress
from core.outbox import signing
from core.outbox.attempts import Attempt
from core.responses.job import JobObject, job_object
from core.rows.batch import ShownBatch
from core.rows.job import JobRow
from core.rows.webhook import ClaimedDelivery
from core.settings import Settings
from core.storage import Storage
from core.telemetry import tracing
from core.webhooks.events import Event

AGENT = f"Safelight/{version('safelight')}"
MAX_ANSWER_CHARACTERS = 1024
"""This much of an answer is stored for the owner to read."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of a delivery. may_retry: False if it has no receiver any more."""

    row: ClaimedDelivery
    attempt: Attempt
    answer: Response | None
    may_retry: bool


class Sender:
    """Sends deliveries. Thread-safe."""

    def __init__(self, settings: Settings, egress: Egress) -> None:
        self._settings = settings
        self._storage = Storage(settings)
        self._egress = egress
        self._timeout = settings.webhook_timeout.total_seconds()

    def send(self, row: ClaimedDelivery, subject: JobRow | ShownBatch) -> Outcome:
        """Send a claimed delivery about a job or a batch."""
        began = time.monotonic()
        answer: Response | None = None
        error_code: str | None = "endpoint_deleted"
        url, keys = _receiver(row)
        if url is not None:
            try:
                body = self._body(row, subject)
                with tracing.call_span("webhook", _traceparent(subject), {"safelight.event": row.event_type}) as trace:
                    headers = _headers(row, keys, body, trace)
                    answer = self._egress.post(url, body, headers, self._timeout)
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
        return Outcome(row, attempt, answer, may_retry=url is not None)

    def _body(self, row: ClaimedDelivery, subject: JobRow | ShownBatch) -> bytes:
        data: JobObject | BatchObject
        if isinstance(subject, JobRow):
            data = job_object(subject, self._settings.base_url, self._storage.url)
        else:
            data = batch_object(subject, self._settings.base_url)
        event = Event(id=row.event_id, type=row.event_type, created_at=int(row.event_at.timestamp()), data=data)
        return event.model_dump_json().encode()


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


def _traceparent(subject: JobRow | ShownBatch) -> str | None:
    """The trace that a job or batch belongs to. That of a batch has only the batch's own webhooks."""
    return None if isinstance(subject, JobRow) and subject.batch_id is not None else subject.traceparent


def _headers(row: ClaimedDelivery, keys: list[str], body: bytes, traceparent: str | None) -> Mapping[str, str]:
    signature = signing.signed(keys, row.event_id, int(row.claimed_at.timestamp()), body)
    trace = {} if traceparent is None else {"traceparent": traceparent}
    return {"Content-Type": "application/json", "User-Agent": AGENT, **trace, **signature}


def _printable(body: bytes) -> str:
    """The beginning of an answer, without characters that a terminal or Postgres does not accept."""
    text = body[: 4 * MAX_ANSWER_CHARACTERS].decode("utf-8", "replace")[:MAX_ANSWER_CHARACTERS]
    if text.isprintable():
        return text
    return "".join(character if character.isprintable() or character == "\n" else "\ufffd" for character in text)
