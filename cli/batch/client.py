"""The jobs of a batch that are new since the last call, and the state of a batch.

Jobs are listed by page, never line by line, and only beyond the lines that are known to be finished.
"""

import time
from collections.abc import Iterator
from itertools import chain

from core.status import FINAL, BatchStatus, JobStatus
from safelight_client import Batch, Job, Safelight

FINAL_STATUSES = tuple(str(status) for status in FINAL)
UNSUCCESSFUL_STATUSES = tuple(str(status) for status in FINAL if status is not JobStatus.COMPLETED)

LIST_PAUSE_FACTOR = 10.0
"""The pause before the next listing, relative to the duration of the last one. Otherwise a client would list all the
time when lines finish out of order."""


class FinalJobs:
    """Lists each finished job of a batch exactly once.

    All jobs with an index below `_next_index` have been listed, and those in `_listed_beyond` too.
    """

    def __init__(self, client: Safelight, batch_id: str) -> None:
        self._client = client
        self._batch_id = batch_id
        self._next_index = 0  # of a line, from 0
        self._cursor: str | None = None  # the job before _next_index
        self._listed_beyond: set[int] = set()
        self._listing: Iterator[Job] = iter(())
        self._is_listing = False
        self._pause_end = 0.0

    def list_new(self, batch: Batch) -> Iterator[Job]:
        """Finished jobs that were not listed yet; all of them if the batch is final, else as far as the pause allows.

        If the caller stops in the middle, the next call continues there.
        """
        if batch.is_final:
            return chain(self._listing, self._list())
        count = self._next_index + len(self._listed_beyond)
        if not self._is_listing and count_final(batch) > count and time.monotonic() >= self._pause_end:
            self._is_listing = True
            self._listing = self._list()
        return self._listing

    def _list(self) -> Iterator[Job]:
        duration = 0.0
        jobs = self._client.jobs.list(batch_id=self._batch_id, status=FINAL_STATUSES, order="asc", after=self._cursor)
        while True:
            start = time.monotonic()
            job = next(jobs, None)
            duration += time.monotonic() - start
            if job is None:
                break
            if self._add(job):
                yield job
        self._is_listing = False
        self._pause_end = time.monotonic() + LIST_PAUSE_FACTOR * duration

    def _add(self, job: Job) -> bool:
        """Note that a job is listed; returns whether it is new."""
        index = job.batch_index or 0
        is_new = index not in self._listed_beyond
        self._listed_beyond.add(index)
        if index == self._next_index:
            self._listed_beyond.discard(index)
            self._next_index += 1
            self._cursor = job.id
        return is_new


def count_final(batch: Batch) -> int:
    """The number of lines with a final status."""
    counts = batch.request_counts
    return counts.completed + counts.failed + counts.cancelled + counts.expired


def is_successful(batch: Batch) -> bool:
    """Whether all lines of a batch completed."""
    counts = batch.request_counts
    return batch.status == BatchStatus.COMPLETED and counts.completed == counts.total
