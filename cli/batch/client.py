"""Batches as the commands ask for them, over `cli.client`: what is sent, what is read, and which jobs have ended.

Nothing here asks line by line: jobs come by the page, and only the pages behind which something is new.
"""

import re
import time
from collections.abc import Iterator, Mapping, Sequence
from itertools import chain
from typing import Any, TypedDict, cast

from cli.client import PAGE, Client, Job
from cli.errors import CommandError
from core.status import BATCH_FINAL, FINAL, BatchStatus, JobStatus

ENDED = tuple(str(status) for status in FINAL)
NOT_COMPLETED = tuple(str(status) for status in FINAL if status is not JobStatus.COMPLETED)

READING_SECONDS = 300.0
"""Longest wait for an answer for which the API reads every line."""

LISTING_SHARE = 10.0
"""The next listing waits for this many times as long as the last one took: lines that end out of order never make a
client that lists all the time."""


class RequestCounts(TypedDict):
    """How many lines are in which state; the last six add up to `total`."""

    total: int
    completed: int
    failed: int
    cancelled: int
    expired: int
    queued: int
    in_progress: int


class LineError(TypedDict):
    """What is wrong with a line of the input."""

    line: int | None
    code: str
    param: str | None
    message: str


class LineErrors(TypedDict):
    """All that is wrong, up to the API's bound."""

    data: list[LineError]


class BatchProgress(TypedDict):
    """How fast a batch goes; None where it could only be guessed."""

    lines_per_second: float | None
    estimated_finish_at: int | None


class Batch(TypedDict):
    """What the commands read of a batch; the API sends more."""

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
    metadata: dict[str, str]
    created_at: int


class Estimate(TypedDict):
    """What a dry run answers; the API sends more."""

    total: int
    images: int
    models: dict[str, int]
    device_seconds: float
    estimated_finish_at: int | None
    cost_usd: float | None
    errors: LineErrors


class LineJob(Job):
    """A job that is a line of a batch."""

    batch_index: int
    custom_id: str


class Batches:
    """The batches of one Safelight."""

    def __init__(self, client: Client) -> None:
        self.client = client

    def submit(self, request: Mapping[str, Any], idempotency_key: str) -> Batch:
        """Post a batch. However often it is sent with the same key, it is one batch."""
        headers = {"idempotency-key": idempotency_key}
        return cast(Batch, self.client.request("POST", "/v1/batches", json=request, headers=headers))

    def estimate(self, request: Mapping[str, Any]) -> Estimate:
        """What a batch would be; nothing is drawn."""
        asked = {**request, "dry_run": True}
        return cast(Estimate, self.client.request("POST", "/v1/batches", json=asked, timeout=READING_SECONDS))

    def get(self, batch_id: str) -> Batch:
        """One batch as it is now."""
        return cast(Batch, self.client.request("GET", _path(batch_id)))

    def newest(self, limit: int) -> Iterator[Batch]:
        """The newest batches, as many as `limit` at most."""
        wanted: dict[str, Any] = {}
        while limit > 0:
            page = self.client.request("GET", "/v1/batches", params={**wanted, "limit": min(limit, PAGE)})
            yield from page["data"]
            if not page["has_more"]:
                return
            limit -= len(page["data"])
            wanted["after"] = page["last_id"]

    def cancel(self, batch_id: str) -> Batch:
        """Wish that a batch stop; returns it as it is then."""
        return cast(Batch, self.client.request("POST", f"{_path(batch_id)}/cancel"))

    def retry(self, batch_id: str) -> Batch:
        """A new batch of the lines that did not complete; asked twice, it is the same one."""
        return cast(Batch, self.client.request("POST", f"{_path(batch_id)}/retry", timeout=READING_SECONDS))

    def pages(self, batch_id: str, statuses: Sequence[str], after: str | None = None) -> Iterator[list[LineJob]]:
        """Jobs of a batch in the order of its lines, beyond the job `after`."""
        wanted = {"batch_id": batch_id, "status": list(statuses), "order": "asc", "limit": PAGE}
        while True:
            page = self.client.request(
                "GET", "/v1/jobs", params=wanted if after is None else {**wanted, "after": after}
            )
            yield page["data"]
            if not page["has_more"]:
                return
            after = page["last_id"]


class EndedJobs:
    """Tells each job of a batch once, after it has ended: those before the edge have all been told."""

    def __init__(self, batches: Batches, batch_id: str) -> None:
        self._batches = batches
        self._batch_id = batch_id
        self._edge = 0  # a line's index, from 0
        self._before_edge: str | None = None
        self._told_beyond: set[int] = set()
        self._listing: Iterator[LineJob] = iter(())
        self._is_listing = False
        self._not_before = 0.0

    def news(self, batch: Batch) -> Iterator[LineJob]:
        """What was not told yet, as far as it is time to ask; all of it once the batch is final.

        Who stops in the middle goes on there the next time.
        """
        if is_final(batch):
            return chain(self._listing, self._list())
        told = self._edge + len(self._told_beyond)
        if not self._is_listing and ended(batch) > told and time.monotonic() >= self._not_before:
            self._is_listing = True
            self._listing = self._list()
        return self._listing

    def _list(self) -> Iterator[LineJob]:
        """List what lies beyond the edge."""
        took, begun = 0.0, time.monotonic()
        for page in self._batches.pages(self._batch_id, ENDED, self._before_edge):
            took += time.monotonic() - begun
            for job in page:
                yield from self._untold(job)
            begun = time.monotonic()
        self._is_listing = False
        self._not_before = time.monotonic() + LISTING_SHARE * took

    def _untold(self, job: LineJob) -> Iterator[LineJob]:
        is_new = job["batch_index"] not in self._told_beyond
        self._told_beyond.add(job["batch_index"])
        if job["batch_index"] == self._edge:
            self._told_beyond.discard(self._edge)
            self._edge += 1
            self._before_edge = job["id"]
        if is_new:
            yield job


def ended(batch: Batch) -> int:
    """How many of a batch's lines have ended, in whichever way."""
    counts = batch["request_counts"]
    return counts["completed"] + counts["failed"] + counts["cancelled"] + counts["expired"]


def is_final(batch: Batch) -> bool:
    """Whether nothing can change a batch any more."""
    return batch["status"] in BATCH_FINAL


def is_whole(batch: Batch) -> bool:
    """Whether every line of a batch completed."""
    counts = batch["request_counts"]
    return batch["status"] == BatchStatus.COMPLETED and counts["completed"] == counts["total"]


def _path(batch_id: str) -> str:
    if not re.fullmatch(r"batch_[0-9A-Za-z]+", batch_id):
        raise CommandError(f"{batch_id!r} is not the id of a batch: one looks like batch_01kc3m9w8yq6k0v2t5x7z1b4dn.")
    return f"/v1/batches/{batch_id}"
