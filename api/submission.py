"""Submits jobs that arrive together in one statement, so that they share a commit.

A job that comes alone is written at once. While WRITERS statements run, later jobs wait for the next statement. Each
client is answered after the commit.
"""

import asyncio

from core import jobs
from core.db import UNAVAILABLE, AsyncDatabase
from core.jobs import NewJob
from core.rows import JobRow

WRITERS = 2
"""Statements that run at once: while one waits for its commit, the next is filled (docs/05-performance.md)."""

MAX_JOBS = 200
"""Jobs in one statement: some milliseconds of Postgres' time, so that no client waits long."""

PendingJob = tuple[NewJob, asyncio.Future[JobRow]]


class Submission:
    """Groups the submits of one process."""

    def __init__(self, database: AsyncDatabase) -> None:
        self._database = database
        self._jobs: list[PendingJob] = []
        self._writers: set[asyncio.Task[None]] = set()

    async def submit(self, job: NewJob) -> JobRow:
        """Submit a job and return its row after the commit. Raises what the database raises."""
        row: asyncio.Future[JobRow] = asyncio.get_running_loop().create_future()
        self._jobs.append((job, row))
        if len(self._writers) < WRITERS:
            writer = asyncio.create_task(self._write())
            self._writers.add(writer)
            writer.add_done_callback(self._writers.discard)
        return await row

    async def close(self) -> None:
        """Wait for the statements that run."""
        await asyncio.gather(*self._writers)

    async def _write(self) -> None:
        while self._jobs:
            # A job before which others stand back is submitted alone.
            count = next((i for i, (job, _) in enumerate(self._jobs[:MAX_JOBS]) if job.project_priority), MAX_JOBS) or 1
            group, self._jobs = self._jobs[:count], self._jobs[count:]
            await self._submit(group)

    async def _submit(self, group: list[PendingJob]) -> None:
        try:
            rows = await self._database.execute(jobs.submit(*(job for job, _ in group)))
        except Exception as error:
            if len(group) > 1 and not isinstance(error, UNAVAILABLE):
                for pending_job in group:  # one job causes the error; the others must not fail with it
                    await self._submit([pending_job])
                return
            for _, result in group:
                if not result.done():
                    result.set_exception(error)
            return
        by_id = {row.id: row for row in rows}
        for new_job, result in group:
            if not result.done():  # its client may have disconnected
                result.set_result(by_id[new_job.id])
