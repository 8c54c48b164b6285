"""The calls for batches, on top of `cli.client`, and the jobs of a batch that are new since the last call.

Jobs are listed by page, never line by line, and only beyond the lines that are known to be finished.
`tests/cli/test_api_types.py` compares the types here with the API.
"""

import re
import time
from collections.abc import Iterator, Mapping, Sequence
from itertools import chain
from typing import Any, TypedDict, cast

from cli.client import PAGE_SIZE, Client, Job
from cli.errors import CommandError
from core.status import BATCH_FINAL, FINAL, BatchStatus, JobStatus

FINAL_STATUSES = tuple(str(status) for status in FINAL)
UNSUCCESSFUL_STATUSES = tuple(str(status) for status in FINAL if status is not JobStatus.COMPLETED)

FILE_SECONDS = 300.0
"""Maximum wait for a response for which the API reads the complete input file."""

LIST_PAUSE_FACTOR = 10.0
"""The pause before the next listing, relative to the duration of the last one. Otherwise a client would list all the
time when lines finish out of order."""


class RequestCounts(TypedDict):
    """The number of lines by status; the last six add up to `total`."""

    total: int
    completed: int
    failed: int
    cancelled: int
    expired: int
    queued: int
    in_progress: int


class LineError(TypedDict):
    """An error in a line of the input."""

    line: int | None
    code: str
    param: str | None
    message: str


class LineErrors(TypedDict):
    """All errors of the input, up to the API's limit."""

    data: list[LineError]


class InputSummary(TypedDict):
    """How an input file was read."""

    format: str
    encoding: str | None
    encoding_is_guess: bool
    example: str | None
    separator: str | None
    sheet: str | None
    empty_rows: int
    metadata_columns: list[str]


class BatchProgress(TypedDict):
    """The rate of a batch; None while it is unknown."""

    lines_per_second: float | None
    estimated_finish_at: int | None


class Batch(TypedDict):
    """The fields of a batch that the commands read."""

    id: str
    status: str
    model: str | None
    endpoint: str
    input_file_id: str | None
    completion_window: str
    error_file_id: str | None
    errors: LineErrors | None
    request_counts: RequestCounts
    progress: BatchProgress | None
    retried_from: str | None
    input: InputSummary | None
    metadata: dict[str, str]
    created_at: int


class Estimate(TypedDict):
    """The fields of a dry run's response that the commands read."""

    total: int
    images: int
    models: dict[str, int]
    device_seconds: float
    estimated_finish_at: int | None
    cost_usd: float | None
    input: InputSummary | None
    errors: LineErrors


class LineJob(Job):
    """A job of a line of a batch."""

    batch_index: int
    custom_id: str


class Batches:
    """The API's calls for batches."""

    def __init__(self, client: Client) -> None:
        self.client = client

    def submit(self, request: Mapping[str, Any], idempotency_key: str) -> Batch:
        """Submit a batch. Requests with the same key create only one batch."""
        headers = {"idempotency-key": idempotency_key}
        return cast(Batch, self.client.request("POST", "/v1/batches", json=request, headers=headers))

    def estimate(self, request: Mapping[str, Any]) -> Estimate:
        """Validate and estimate a batch without submitting it."""
        dry_run = {**request, "dry_run": True}
        return cast(Estimate, self.client.request("POST", "/v1/batches", json=dry_run, timeout=FILE_SECONDS))

    def get(self, batch_id: str) -> Batch:
        """The current state of a batch."""
        return cast(Batch, self.client.request("GET", _path(batch_id)))

    def newest(self, limit: int) -> Iterator[Batch]:
        """The newest batches, at most `limit`."""
        return self.client.list_newest("/v1/batches", {}, limit)

    def cancel(self, batch_id: str) -> Batch:
        """Request the cancellation of a batch; returns the batch."""
        return cast(Batch, self.client.request("POST", f"{_path(batch_id)}/cancel"))

    def retry(self, batch_id: str) -> Batch:
        """Submit the lines that did not complete as a new batch. A second call returns the same batch."""
        return cast(Batch, self.client.request("POST", f"{_path(batch_id)}/retry", timeout=FILE_SECONDS))

    def pages(self, batch_id: str, statuses: Sequence[str], after: str | None = None) -> Iterator[list[LineJob]]:
        """Pages of the jobs of a batch in the order of its lines, after the job `after`."""
        params = {"batch_id": batch_id, "status": list(statuses), "order": "asc", "limit": PAGE_SIZE}
        while True:
            cursor = {} if after is None else {"after": after}
            page = self.client.request("GET", "/v1/jobs", params={**params, **cursor})
            yield page["data"]
            if not page["has_more"]:
                return
            after = page["last_id"]


class FinalJobs:
    """Lists each finished job of a batch exactly once.

    All jobs with an index below `_next_index` have been listed, and those in `_listed_beyond` too.
    """

    def __init__(self, batches: Batches, batch_id: str) -> None:
        self._batches = batches
        self._batch_id = batch_id
        self._next_index = 0  # of a line, from 0
        self._cursor: str | None = None  # the job before _next_index
        self._listed_beyond: set[int] = set()
        self._listing: Iterator[LineJob] = iter(())
        self._is_listing = False
        self._pause_end = 0.0

    def list_new(self, batch: Batch) -> Iterator[LineJob]:
        """Finished jobs that were not listed yet; all of them if the batch is final, else as far as the pause allows.

        If the caller stops in the middle, the next call continues there.
        """
        if is_final(batch):
            return chain(self._listing, self._list())
        count = self._next_index + len(self._listed_beyond)
        if not self._is_listing and count_final(batch) > count and time.monotonic() >= self._pause_end:
            self._is_listing = True
            self._listing = self._list()
        return self._listing

    def _list(self) -> Iterator[LineJob]:
        duration, start = 0.0, time.monotonic()
        for page in self._batches.pages(self._batch_id, FINAL_STATUSES, self._cursor):
            duration += time.monotonic() - start
            for job in page:
                if self._add(job):
                    yield job
            start = time.monotonic()
        self._is_listing = False
        self._pause_end = time.monotonic() + LIST_PAUSE_FACTOR * duration

    def _add(self, job: LineJob) -> bool:
        """Note that a job is listed; returns whether it is new."""
        index = job["batch_index"]
        is_new = index not in self._listed_beyond
        self._listed_beyond.add(index)
        if index == self._next_index:
            self._listed_beyond.discard(index)
            self._next_index += 1
            self._cursor = job["id"]
        return is_new


def count_final(batch: Batch) -> int:
    """The number of lines with a final status."""
    counts = batch["request_counts"]
    return counts["completed"] + counts["failed"] + counts["cancelled"] + counts["expired"]


def is_final(batch: Batch) -> bool:
    """Whether the status of a batch is final."""
    return batch["status"] in BATCH_FINAL


def is_successful(batch: Batch) -> bool:
    """Whether all lines of a batch completed."""
    counts = batch["request_counts"]
    return batch["status"] == BatchStatus.COMPLETED and counts["completed"] == counts["total"]


def _path(batch_id: str) -> str:
    if not re.fullmatch(r"batch_[0-9A-Za-z]+", batch_id):
        raise CommandError(f"{batch_id!r} is not the id of a batch; an example is batch_01kc3m9w8yq6k0v2t5x7z1b4dn.")
    return f"/v1/batches/{batch_id}"
