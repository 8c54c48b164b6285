"""Submitting jobs that arrive together in one statement: one commit for all of them, however many clients there are.

A job that comes alone is written at once. While a statement is on its way, what arrives waits for the next. The answer
is given after the commit, as ever.
"""

import asyncio

from core import jobs
from core.db import UNAVAILABLE, AsyncDatabase
from core.jobs import NewJob
from core.rows import JobRow

WRITERS = 2
"""Statements on their way at once: while one waits for its commit, the other is filled (docs/05-performance.md)."""

MAX_LIMIT = 200
"""Jobs in one statement: some milliseconds of Postgres' time, so that no one waits long behind a crowd."""

Waiting = tuple[NewJob, asyncio.Future[JobRow]]


class Submission:
    """Groups the submits of one process."""

    def __init__(self, database: AsyncDatabase) -> None:
        self._database = database
        self._waiting: list[Waiting] = []
        self._writers: set[asyncio.Task[None]] = set()

    async def submit(self, job: NewJob) -> JobRow:
        """Put a job in line and return its row, once it is committed. Raises what the database raises."""
        row: asyncio.Future[JobRow] = asyncio.get_running_loop().create_future()
        self._waiting.append((job, row))
        if len(self._writers) < WRITERS:
            writer = asyncio.create_task(self._write())
            self._writers.add(writer)
            writer.add_done_callback(self._writers.discard)
        return await row

    async def close(self) -> None:
        """Wait for what is on its way."""
        await asyncio.gather(*self._writers)

    async def _write(self) -> None:
        while self._waiting:
            group, self._waiting = self._waiting[:MAX_LIMIT], self._waiting[MAX_LIMIT:]
            await self._submit(group)

    async def _submit(self, group: list[Waiting]) -> None:
        try:
            rows = await self._database.execute(jobs.submit(*(job for job, _ in group)))
        except Exception as error:
            if len(group) > 1 and not isinstance(error, UNAVAILABLE):
                for alone in group:  # one of them is refused; it shall not take the others with it
                    await self._submit([alone])
                return
            for _, waiting in group:
                if not waiting.done():
                    waiting.set_exception(error)
            return
        by_id = {row.id: row for row in rows}
        for job, waiting in group:
            if not waiting.done():  # its client may have gone away
                waiting.set_result(by_id[job.id])
