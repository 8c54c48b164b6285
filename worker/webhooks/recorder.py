"""Records the outcomes of deliveries. Those that arrive while others are recorded share one commit."""

import logging
import secrets
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from queue import Empty, SimpleQueue

from core.connections import Response
from core.db import UNAVAILABLE, Database
from core.errors import first_line
from core.outbox import attempts
from core.outbox.attempts import Success
from core.retry_after import parse_retry_after
from core.rows.webhook import ClaimedDelivery
from core.settings import Settings
from core.telemetry import logs, metrics
from worker.webhooks.sender import Outcome

log = logging.getLogger(__name__)

GONE = 410
MAX_WAIT = timedelta(days=1)
"""Longest Retry-After of a receiver."""

MAX_SUCCESSES = 100
"""Outcomes that are recorded at once."""


class Recorder:
    """Records outcomes in a thread of its own.

    on_end: called in that thread with outcomes that were recorded, or could not be: they are sent again later.
    """

    def __init__(
        self, settings: Settings, database: Database, on_end: Callable[[Sequence[ClaimedDelivery]], None]
    ) -> None:
        self._database = database
        self._schedule = [timedelta(seconds=float(part)) for part in settings.webhook_schedule.split(",")]
        self._on_end = on_end
        self._outcomes: SimpleQueue[Outcome | None] = SimpleQueue()
        self._thread = threading.Thread(target=self._run, name="recorder", daemon=True)
        self._thread.start()

    def add(self, outcome: Outcome) -> None:
        """Record an outcome soon."""
        self._outcomes.put(outcome)

    def close(self) -> None:
        """Record all outcomes and stop."""
        self._outcomes.put(None)
        self._thread.join()

    def _run(self) -> None:
        while (outcome := self._outcomes.get()) is not None:
            outcomes = [outcome, *self._list_arrived()]
            successes = [outcome for outcome in outcomes if outcome.attempt.error_code is None]
            if successes:
                with _log_errors(successes):
                    self._record_successes(successes)
            for outcome in outcomes:
                if outcome.attempt.error_code is not None:
                    with _log_errors([outcome]):
                        self._record_failure(outcome)
            self._on_end([outcome.row for outcome in outcomes])

    def _list_arrived(self) -> Iterator[Outcome]:
        """The outcomes that have arrived by now."""
        for _ in range(MAX_SUCCESSES):
            try:
                outcome = self._outcomes.get_nowait()
            except Empty:
                return
            if outcome is None:
                self._outcomes.put(None)
                return
            yield outcome

    def _record_successes(self, outcomes: Sequence[Outcome]) -> None:
        successes = [Success(outcome.row.id, outcome.row.lease, outcome.attempt) for outcome in outcomes]
        self._database.execute(attempts.record_successes(*successes))
        metrics.WEBHOOK_ATTEMPTS.labels("delivered").inc(len(outcomes))
        for outcome in outcomes:
            lag = (outcome.row.claimed_at - outcome.row.event_at).total_seconds() + outcome.attempt.seconds
            metrics.WEBHOOK_LAG_SECONDS.observe(max(0.0, lag))

    def _record_failure(self, outcome: Outcome) -> None:
        row, attempt, answer = outcome.row, outcome.attempt, outcome.answer
        is_gone = answer is not None and answer.status == GONE
        wait = self._wait(row.attempts, answer) if outcome.may_retry and not is_gone else None
        patience = sum(self._schedule, timedelta(0)) / 2
        self._database.execute(
            attempts.record_failure(row.id, row.lease, attempt, retry_in=wait, is_gone=is_gone, patience=patience)
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


@contextmanager
def _log_errors(outcomes: Sequence[Outcome]) -> Iterator[None]:
    """Log an error of recording. The deliveries become due again, so nothing else is lost."""
    row = outcomes[0].row
    with logs.add_ids(project_id=row.project_id, job_id=row.job_id, batch_id=row.batch_id):
        ids = ", ".join(outcome.row.id for outcome in outcomes)
        try:
            yield
        except UNAVAILABLE as error:
            log.warning("delivery %s: the database is unavailable, sent again later: %s", ids, first_line(error))
        except Exception:
            log.exception("delivery %s was not recorded, sent again later", ids)
