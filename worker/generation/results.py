"""Records how the attempts of a micro-batch ended: the results of small images in one transaction.

So a micro-batch of small images costs one commit, not one for each job. A result that the database rejects fails its
own job only: then each result is recorded by itself.
"""

import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from uuid import UUID

from core import jobs, leases
from core.db import UNAVAILABLE, Statement
from core.errors import first_line
from core.generation_errors import StorageFailed
from core.jobs import Completion
from core.rows.job import EndedJob, JobRow
from core.telemetry.job_metrics import record_ends
from worker.generation.context import Context
from worker.generation.heartbeat import Heartbeat

log = logging.getLogger(__name__)

MAX_PIXELS = 512 * 512
"""Results wait for others until their images have so many pixels: larger images take longer to store than a commit."""

MAX_DELAY_SECONDS = 0.25
"""Nor do they wait longer than this where storing takes long, plus the time in which one further job is stored."""

Result = Completion | Statement[JobRow]
"""How an attempt ended: with images, or with another transition."""


@dataclass(slots=True)
class Results:
    """The results of one micro-batch. Used by the thread that stores its images."""

    context: Context
    lease: UUID
    heartbeat: Heartbeat
    fail: Callable[[JobRow, StorageFailed], Statement[JobRow]]
    """Builds the transition of a job whose result the database rejects."""
    _pending: list[tuple[JobRow, Result]] = field(default_factory=list)
    _pixels: int = 0
    _recorded_at: float = field(default_factory=time.monotonic)

    def add(self, job: JobRow, result: Result) -> None:
        """Record a result, now or together with the next ones."""
        self._pending.append((job, result))
        if isinstance(result, Completion):
            self._pixels += sum(image["width"] * image["height"] for image in result.images)
        if self._pixels >= MAX_PIXELS or time.monotonic() - self._recorded_at >= MAX_DELAY_SECONDS:
            self.record()

    def record(self) -> None:
        """Record what waits."""
        pending, self._pending, self._pixels = self._pending, [], 0
        if len(pending) > 1:
            try:
                self._record(pending)
            except Exception:  # the database rejects one of them; which one is found below
                log.warning("the results of a micro-batch are recorded one by one", exc_info=True)
            else:
                pending = []
        for job, result in pending:
            self._record_alone(job, result)
        self._recorded_at = time.monotonic()

    def _record_alone(self, job: JobRow, result: Result) -> None:
        try:
            self._record([(job, result)])
        except Exception as error:  # the database rejects what we would write; the job fails with that
            log.exception("the result of job %s could not be recorded", job.id)
            failure = StorageFailed(f"The result could not be recorded: {type(error).__name__}")
            self._record([(job, self.fail(job, failure))])

    def _record(self, results: Sequence[tuple[JobRow, Result]]) -> None:
        """Record results; again while the database is unavailable and the lease may still be ours.

        A commit whose reply was lost is harmless: the repetition changes no row, because the first one did.
        """
        self.context.step_publisher.flush()
        while active := [(job, result) for job, result in results if self.heartbeat.is_active(job.id)]:
            try:
                rows = record_ends(self._execute([result for _, result in active]))
            except UNAVAILABLE as error:
                log.warning("%d jobs not recorded yet: %s", len(active), first_line(error))
                self.heartbeat.wait(0.5)
                continue
            statuses = {row.id: row.status for row in rows}
            for job, _ in active:
                self.heartbeat.release(job.id)
                if job.id in statuses:
                    log.info("job %s is %s", job.id, statuses[job.id], extra=job.log_ids)
                else:
                    log.warning("the lease of job %s has ended; nothing recorded", job.id, extra=job.log_ids)
            self.context.progress.publish_changes(list(statuses))
            return

    def _execute(self, results: Sequence[Result]) -> Sequence[EndedJob | JobRow]:
        """Execute the statements of results, in one transaction."""
        completions = [result for result in results if isinstance(result, Completion)]
        statements: list[Statement[EndedJob] | Statement[JobRow]] = [
            result for result in results if not isinstance(result, Completion)
        ]
        if completions:
            verdict = self.context.moderator.pass_verdict
            statements.insert(0, jobs.complete_jobs(completions, self.lease, verdict))
        if len(statements) == 1:
            return self.context.database.execute(statements[0])
        with self.context.database.transaction() as transaction:
            transaction.execute(leases.lock(self.lease))
            return [row for statement in statements for row in transaction.execute(statement)]
