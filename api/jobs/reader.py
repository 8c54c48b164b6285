"""Reads of single jobs that arrive together share one statement, so that many clients need few connections.

A read that comes alone is run at once. While MAX_READERS statements run, later reads wait for the next statement. A
statement always starts after the reads that it answers.
"""

import asyncio

from core import queries
from core.db import AsyncDatabase
from core.rows.job import JobRow

MAX_READERS = 4
"""Statements that run at once: a quarter of the default connection pool."""

MAX_JOBS = 100
"""Jobs in one statement; reading that many takes a few milliseconds."""

Read = tuple[str, asyncio.Future[JobRow | None]]


class JobReader:
    """Groups the reads of one process."""

    def __init__(self, database: AsyncDatabase) -> None:
        self._database = database
        self._reads: list[Read] = []
        self._readers: set[asyncio.Task[None]] = set()

    async def get(self, project_id: str, job_id: str) -> JobRow | None:
        """A job of a project, with its images and queue position. Raises what the database raises."""
        result: asyncio.Future[JobRow | None] = asyncio.get_running_loop().create_future()
        self._reads.append((job_id, result))
        if len(self._readers) < MAX_READERS:
            reader = asyncio.create_task(self._run())
            self._readers.add(reader)
            reader.add_done_callback(self._readers.discard)
        row = await result
        return row if row is not None and row.project_id == project_id else None

    async def close(self) -> None:
        """Wait for the statements that run."""
        await asyncio.gather(*self._readers)

    async def _run(self) -> None:
        while self._reads:
            group, self._reads = self._reads[:MAX_JOBS], self._reads[MAX_JOBS:]
            await self._read(group)

    async def _read(self, group: list[Read]) -> None:
        try:
            rows = await self._database.execute(queries.get_jobs({job_id for job_id, _ in group}))
        except Exception as error:
            for _, result in group:
                if not result.done():
                    result.set_exception(error)
            return
        by_id = {row.id: row for row in rows}
        for job_id, result in group:
            if not result.done():  # its client may have disconnected
                result.set_result(by_id.get(job_id))
