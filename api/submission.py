"""Submits jobs that arrive together in one statement, so that they share a commit.

A job that comes alone is written at once. A statement waits while more jobs arrive, up to its share of those that were
open lately: clients that were answered together send their next requests together. While WRITERS statements run, later
jobs wait for the next one. Each client is answered after the commit. The jobs of a project or key with a quota have
statements of their own, one at a time, as they wait for each other anyway (`core/limits.py`).
"""

import asyncio
import logging
from collections.abc import Sequence
from dataclasses import dataclass, field

from api.draining_queues import DrainingQueues
from api.limits import CallerLimits, reserve
from core import submits
from core.db import UNAVAILABLE, AsyncDatabase
from core.event_loop import until_quiet
from core.limit_errors import InsufficientQuota, TooManyJobs
from core.limits import Amount, Subject, amount_of_jobs
from core.new_job import NewJob
from core.redis.notifier import AsyncNotifier
from core.rows.job import JobRow
from core.telemetry import metrics

log = logging.getLogger(__name__)

WRITERS = 2
"""Statements that run at once: while one waits for its commit, the next is filled (docs/05-performance.md)."""

MAX_JOBS = 200
"""Jobs in one statement: some milliseconds of Postgres' time, so that no client waits long."""

RECENT_SHARE = 0.9
"""Of the number of jobs that were open at once, what counts at the next statement."""

PendingJob = tuple[NewJob, asyncio.Future[JobRow]]


@dataclass(slots=True)
class PendingJobs:
    """The jobs that wait for the next statement, and what their quotas are."""

    quotas: Sequence[Subject]
    jobs: list[PendingJob] = field(default_factory=list)
    writers: int = 0

    def take(self) -> list[PendingJob]:
        """The jobs of the next statement. A job before which others stand back is alone."""
        limit = min(len(self.jobs), MAX_JOBS)
        count = next((number for number in range(limit) if self.jobs[number][0].project_priority), limit) or 1
        group, self.jobs = self.jobs[:count], self.jobs[count:]
        return group


@dataclass(frozen=True, slots=True)
class Refusal:
    """A quota forbids a job. amount: what the job would have used."""

    error: Exception
    amount: Amount

    def concerns(self, job: NewJob) -> bool:
        """Whether another job is refused, too: it needs no less of anything."""
        other = _amount_of([job])
        needs_less = other.device_seconds < self.amount.device_seconds or other.provider_usd < self.amount.provider_usd
        return isinstance(self.error, TooManyJobs) or not needs_less


class Submission:
    """Groups the submits of one process."""

    def __init__(
        self, database: AsyncDatabase, limits: CallerLimits, draining_queues: DrainingQueues, notifier: AsyncNotifier
    ) -> None:
        self._draining_queues = draining_queues
        self._notifier = notifier
        self._database = database
        self._limits = limits
        self._pending: dict[tuple[str, ...], PendingJobs] = {}
        self._writers: set[asyncio.Task[None]] = set()
        self._open_jobs = 0
        self._recent_jobs = 0.0

    async def submit(self, job: NewJob) -> JobRow:
        """Submit a job and return its row after the commit. Workers of its queue are notified.

        Raises QueueDraining, RateLimitExceeded, TooManyJobs, InsufficientQuota, and what the database raises.
        """
        await self._draining_queues.check(job.queue)
        async with self._limits.counted_images(job.project_id, job.api_key_id, job.n):
            result = await self._wait_for_row(job)
        log_submitted(result)
        return result

    async def _wait_for_row(self, job: NewJob) -> JobRow:
        """Put a job among those of the next statement."""
        quotas = await self._limits.quotas(job.project_id, job.api_key_id)
        row: asyncio.Future[JobRow] = asyncio.get_running_loop().create_future()
        key = tuple(subject.id for subject in quotas)
        pending = self._pending.setdefault(key, PendingJobs(quotas))
        pending.quotas = quotas
        pending.jobs.append((job, row))
        if pending.writers < _writers_of(quotas):
            pending.writers += 1
            writer = asyncio.create_task(self._write(key, pending))
            self._writers.add(writer)
            writer.add_done_callback(self._writers.discard)
        self._open_jobs += 1
        try:
            return await row
        finally:
            self._open_jobs -= 1

    async def close(self) -> None:
        """Wait for the statements that run."""
        await asyncio.gather(*self._writers)

    async def _write(self, key: tuple[str, ...], pending: PendingJobs) -> None:
        while pending.jobs:
            self._recent_jobs = max(self._open_jobs, RECENT_SHARE * self._recent_jobs)
            share = min(self._recent_jobs / _writers_of(pending.quotas), MAX_JOBS)
            await until_quiet(lambda: len(pending.jobs), share)
            if group := pending.take():  # another writer may have taken all
                await self._submit(group, pending.quotas)
        pending.writers -= 1
        if not pending.writers:
            self._pending.pop(key, None)

    async def _submit(self, group: Sequence[PendingJob], quotas: Sequence[Subject]) -> Refusal | None:
        """Submit a group. Returns the last refusal if a quota forbids some of its jobs."""
        try:
            rows = await self._execute([job for job, _ in group], quotas)
        except (TooManyJobs, InsufficientQuota) as error:
            return await self._submit_some(group, quotas, error)
        except Exception as error:
            if len(group) > 1 and not isinstance(error, UNAVAILABLE):
                for pending_job in group:  # one job causes the error; the others must not fail with it
                    await self._submit([pending_job], quotas)
            else:
                _fail(group, error)
            return None
        for queue in {job.queue for job, _ in group}:
            self._notifier.notify(queue)  # first, as answering the group takes a while
        by_id = {row.id: row for row in rows}
        for new_job, result in group:
            if not result.done():  # its client may have disconnected
                result.set_result(by_id[new_job.id])
        return None

    async def _execute(self, new_jobs: Sequence[NewJob], quotas: Sequence[Subject]) -> Sequence[JobRow]:
        if not quotas:
            return await self._database.execute(submits.submit(*new_jobs))
        amount = _amount_of(new_jobs)
        if not new_jobs[0].project_priority and (
            rows := await self._database.execute(submits.submit_within_limits(new_jobs, quotas, amount))
        ):
            return rows
        async with self._database.transaction() as transaction:
            await reserve(transaction, quotas, amount)
            return await transaction.execute(submits.submit(*new_jobs))

    async def _submit_some(
        self, group: Sequence[PendingJob], quotas: Sequence[Subject], error: Exception
    ) -> Refusal | None:
        """Submit by halves what a quota allows of a group. A job that needs less than a refused one is still tried."""
        half = len(group) // 2
        if half == 0:
            _fail(group, error)
            return Refusal(error, _amount_of([job for job, _ in group]))
        refusal = await self._submit(group[:half], quotas)
        rest = group[half:]
        if refusal is not None:
            _fail([pending_job for pending_job in rest if refusal.concerns(pending_job[0])], refusal.error)
            rest = [pending_job for pending_job in rest if not refusal.concerns(pending_job[0])]
        return (await self._submit(rest, quotas) if rest else None) or refusal


def _amount_of(new_jobs: Sequence[NewJob]) -> Amount:
    return sum((amount_of_jobs(1, job.cost, job.provider_usd) for job in new_jobs), Amount())


def _writers_of(quotas: Sequence[Subject]) -> int:
    return 1 if quotas else WRITERS


def log_submitted(row: JobRow) -> None:
    """Log and count that a job is in the database, with the id of the request that brought it."""
    metrics.JOBS_ACCEPTED.labels(row.model, "request").inc()
    log.info("job %s is %s", row.id, row.status, extra=row.log_ids)


def _fail(group: Sequence[PendingJob], error: Exception) -> None:
    """Answer the jobs of a group that have no answer yet with an error."""
    for _, result in group:
        if not result.done():
            result.set_exception(error)
