# Made of asynchronous/batches.py by `python clients/generate.py`: do not edit.
"""Batches: submit, wait, follow, list, cancel, retry, delete, download."""

import os
import time
from collections.abc import Generator, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from time import sleep
from typing import Unpack

from safelight_client import models, requests
from safelight_client.downloads import NewFile
from safelight_client.errors import BatchFailed, WaitTimeout
from safelight_client.event_stream import FIRST
from safelight_client.paths import path_of
from safelight_client.synchronous.bound import Bound
from safelight_client.synchronous.files import Files
from safelight_client.synchronous.jobs import Job, Jobs
from safelight_client.synchronous.transport import Transport
from safelight_client.uploads import Content

FINAL_STATUSES = ("completed", "failed", "cancelled", "expired")

FILE_SECONDS = 300.0
"""Maximum wait for a response for which the API reads the complete input file."""

MIN_INTERVAL, MAX_INTERVAL = 0.2, 2.0
"""Limits of the seconds between two requests of `wait`: a tenth of the time since its start."""


class Batch(Bound, models.BatchObject):
    """A batch. Its fields are its state when the client got it; `refresh` gets it again."""

    @property
    def is_final(self) -> bool:
        """Whether the batch has ended and its output files are written."""
        return self.status in FINAL_STATUSES

    def refresh(self) -> "Batch":
        """The current state of the batch."""
        return Batches(self._transport).retrieve(self.id)

    def wait(self, *, timeout: float | None = None, check: bool = True) -> "Batch":
        """Wait until the batch has ended. See `client.batches.wait`."""
        return Batches(self._transport).wait(self.id, timeout=timeout, check=check)

    def events(self, *, after: str = FIRST) -> Generator["BatchEvent"]:
        """All events of the batch until it has ended. See `client.batches.events`."""
        return Batches(self._transport).events(self.id, after=after)

    def jobs(self, *, status: str | Sequence[str] = (), limit: int | None = None) -> Iterator[Job]:
        """The jobs of the batch, in the order of its lines. status: only jobs with one of these."""
        return Jobs(self._transport).list(batch_id=self.id, status=status, order="asc", limit=limit)

    def cancel(self) -> "Batch":
        """Request the cancellation of the batch; returns its new state."""
        return Batches(self._transport).cancel(self.id)

    def retry(self) -> "Batch":
        """Submit the lines that did not complete as a new batch; returns it."""
        return Batches(self._transport).retry(self.id)

    def delete(self) -> models.ErasureObject:
        """Delete the batch with its jobs, images and files; returns the erasure, which goes on."""
        return Batches(self._transport).delete(self.id)

    def save_zip(self, path: str | os.PathLike[str]) -> Path:
        """Save a ZIP file of all images of the batch."""
        return self._save("images.zip", path)

    def save_manifest(self, path: str | os.PathLike[str]) -> Path:
        """Save a CSV file with a row for each image or error of the batch."""
        return self._save("manifest.csv", path)

    def _save(self, name: str, path: str | os.PathLike[str]) -> Path:
        with NewFile(path) as file:
            self._transport.download(f"{path_of('batches', self.id)}/{name}", file)
        return file.path

    def check_completed(self) -> None:
        """Raise BatchFailed with the reason if the batch has ended and a line did not complete."""
        counts = self.request_counts
        if not self.is_final or (self.status == "completed" and counts.completed == counts.total):
            return
        message = f"{self.id} is {self.status}: {counts.completed} of {counts.total} lines completed."
        if self.errors is not None and self.errors.data:
            message += f" {self.errors.data[0].message}"
        raise BatchFailed(self.id, self.status, message)


@dataclass(frozen=True, slots=True)
class BatchEvent:
    """An event of a batch, with the batch at that moment. id: for `after`; None for `batch.progress`."""

    type: str
    id: str | None
    batch: Batch


class Batches:
    """The API's calls for batches."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    def create(
        self,
        *,
        file: Content | None = None,
        idempotency_key: str | None = None,
        timeout: float | None = None,
        **parameters: Unpack[requests.BatchRequest],
    ) -> Batch:
        """Submit a batch of `prompts`, `requests` or a file; the other parameters apply to all of its lines.

        file: a .csv, .txt or .jsonl file, which is uploaded; `input_file_id` names one that is there. idempotency_key:
        two requests with the same key are one batch; default: a new key. With a key of your own, pass `input_file_id`:
        two uploads of a file are two files, so the second request would be an error. timeout: of the request, in
        seconds.
        """
        if file is not None:
            parameters["input_file_id"] = (Files(self._transport).upload(file, purpose="batch")).id
        data = self._transport.submit("/v1/batches", parameters, idempotency_key, timeout)
        return self._transport.parse(Batch, data)

    def dry_run(
        self, *, file: Content | None = None, **parameters: Unpack[requests.BatchRequest]
    ) -> models.BatchEstimate:
        """Check all lines of a batch and estimate its time and cost. Nothing is stored; the file is deleted again."""
        files = Files(self._transport)
        upload = None if file is None else files.upload(file, purpose="batch", expires_after=3600)
        body = {**parameters, "dry_run": True} | ({} if upload is None else {"input_file_id": upload.id})
        try:
            return self._transport.fetch(models.BatchEstimate, "POST", "/v1/batches", body=body, timeout=FILE_SECONDS)
        finally:
            if upload is not None:
                upload.delete()

    def retrieve(self, batch_id: str) -> Batch:
        """The current state of a batch. Raises NotFound."""
        return self._transport.fetch(Batch, "GET", path_of("batches", batch_id))

    def list(self, *, after: str | None = None, limit: int | None = None) -> Iterator[Batch]:
        """All batches, newest first, page by page. after: the id of the batch before the first one."""
        for batch in self._transport.list_items(Batch, "/v1/batches", {"after": after}, limit):
            yield batch

    def wait(self, batch_id: str, *, timeout: float | None = None, check: bool = True) -> Batch:
        """Wait until a batch has ended; returns it.

        timeout: seconds; None waits as long as it takes. check: raise BatchFailed unless all lines completed. Raises
        WaitTimeout.
        """
        start = time.monotonic()
        while True:
            batch = self.retrieve(batch_id)
            if batch.is_final:
                if check:
                    batch.check_completed()
                return batch
            elapsed = time.monotonic() - start
            if timeout is not None and elapsed >= timeout:
                raise WaitTimeout(f"{batch_id} is still {batch.status} after {timeout:g} s.")
            interval = min(MAX_INTERVAL, max(MIN_INTERVAL, elapsed / 10))
            sleep(interval if timeout is None else min(interval, timeout - elapsed))

    def events(self, batch_id: str, *, after: str = FIRST) -> Generator[BatchEvent]:
        """All events of a batch until it has ended, each with the batch; `batch.progress` as its lines end.

        A lost connection is opened again after the last event. after: the id of the event before the first one.
        """
        path = f"{path_of('batches', batch_id)}/events"
        with closing(self._transport.messages(path, after)) as messages:
            for message in messages:
                batch = self._transport.parse(Batch, message.data.get("batch", message.data))
                yield BatchEvent(message.type, message.id, batch)
                if message.type.removeprefix("batch.") in FINAL_STATUSES:
                    return

    def cancel(self, batch_id: str) -> Batch:
        """Cancel a batch with its queued and running jobs; returns its new state."""
        return self._transport.fetch(Batch, "POST", f"{path_of('batches', batch_id)}/cancel")

    def retry(self, batch_id: str) -> Batch:
        """Submit the lines that did not complete as a new batch. A second call returns the same batch."""
        path = f"{path_of('batches', batch_id)}/retry"
        return self._transport.fetch(Batch, "POST", path, timeout=FILE_SECONDS)

    def delete(self, batch_id: str) -> models.ErasureObject:
        """Delete a batch with its jobs, images and files; returns the erasure, which goes on."""
        return self._transport.fetch(models.ErasureObject, "DELETE", path_of("batches", batch_id))
