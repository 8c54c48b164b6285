"""What must happen within seconds: takes back lost jobs, expires old ones, notifies queues where jobs wait."""

import logging
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime, timedelta

from core import jobs, limits, provider_calls, queries
from core.db import Database
from core.outbox import deliveries
from core.redis.notifier import Notifier
from core.redis.progress import Progress
from core.reports import usage
from core.rows.job import JobRow
from core.settings import Settings
from core.status import JobStatus
from core.telemetry import metrics, tracing
from core.telemetry.job_metrics import record_ends
from worker.sweep.loop import Loop

log = logging.getLogger(__name__)

CHUNK = 500
USAGE_CHUNK = 5000
LIMITS_AGE = timedelta(seconds=15)
APPLICATION = "safelight-sweep"
"""By this name the health check finds the sweep in Postgres (deploy/healthcheck.py)."""


class Reclaimer:
    """The steps of the loop `reclaim`."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._database = Database(settings, name=APPLICATION)
        self._progress = Progress(settings)
        self._notifier = Notifier(settings)
        # Built once: to build and compile them takes longer than to run them on an idle database.
        self._reclaim = jobs.reclaim(settings.max_crashes, CHUNK)
        self._expire = jobs.expire(CHUNK)
        self._abandon = provider_calls.abandon_lost()
        self._give_up = deliveries.give_up_unreachable(CHUNK)
        self._add_up = usage.add_up(USAGE_CHUNK)
        self._lock_stale = limits.lock_stale(LIMITS_AGE)
        self._claimable_queues = queries.claimable_queues()

    def loop(self) -> Loop:
        """The loop that runs the steps every `settings.sweep`."""
        steps = (
            self.reclaim,
            self.expire,
            self.abandon_calls,
            self.notify,
            self.give_up_deliveries,
            self.add_up_usage,
            self.count_limits,
        )
        return Loop(self._settings, "reclaim", APPLICATION, steps)

    def close(self) -> None:
        """Close the connections."""
        self._database.close()

    def reclaim(self) -> Iterator[None]:
        """Take back the jobs whose lease ran out, and notify their queues at once."""
        while rows := record_ends(self._database.execute(self._reclaim)):
            for row in rows:
                metrics.JOBS_RECLAIMED.labels(row.model).inc()
                log.warning("job %s: its lease ran out; now %s", row.id, row.status, extra=row.log_ids)
                _record("reclaim", row)
            self._notify({row.queue for row in rows if row.status == JobStatus.QUEUED})
            self._progress.publish_changes([row.id for row in rows])
            yield

    def expire(self) -> Iterator[None]:
        """End the jobs that waited too long."""
        while rows := record_ends(self._database.execute(self._expire)):
            for row in rows:
                _record("expire", row)
            self._progress.publish_changes([row.id for row in rows])
            yield

    def abandon_calls(self) -> Iterator[None]:
        """Close the provider calls whose workers are gone."""
        for call in self._database.execute(self._abandon):
            log.warning(
                "call %s of job %s: its outcome is unknown", call.id, call.job_id, extra={"job_id": call.job_id}
            )
        yield

    def give_up_deliveries(self) -> Iterator[None]:
        """Give up what waits for webhook endpoints that are disabled or deleted."""
        while rows := self._database.execute(self._give_up):
            log.info("gave up %d deliveries to endpoints that are disabled or deleted", len(rows))
            yield

    def add_up_usage(self) -> Iterator[None]:
        """Add what jobs used to the buckets of its minutes."""
        while self._database.execute(self._add_up):
            yield

    def count_limits(self) -> Iterator[None]:
        """Count again what projects and keys use of their limits: a job may take longer than its estimate."""
        is_stale = True
        while is_stale:
            with self._database.transaction() as transaction:
                uses = transaction.execute(self._lock_stale)
                for use in uses:
                    transaction.execute(limits.count_again(use.subject_id, use.project_id))
            is_stale = bool(uses)
            yield

    def notify(self) -> Iterator[None]:
        """Notify all queues where jobs wait: a notification may have been lost."""
        self._notify(self._database.execute(self._claimable_queues))
        yield

    def _notify(self, queues: Iterable[str]) -> None:
        for queue in queues:
            if not self._notifier.notify(queue):
                return  # Redis is away: each further notification would wait for its timeout


def _record(name: str, job: JobRow) -> None:
    """Record in the trace of a job that the sweep has changed it. A batch's line has a trace of its own for that."""
    now = datetime.now(UTC)
    ids: tracing.Attributes = {
        "safelight.job_id": job.id,
        "safelight.status": job.status,
        "safelight.attempt": job.attempts,
    }
    tracing.record(name, job.traceparent, now, now, ids, begins_trace=job.batch_id is not None)
