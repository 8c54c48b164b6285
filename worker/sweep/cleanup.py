"""What has time: deletes what retention and superseded attempts left behind.

Objects are deleted first and their rows afterwards, so that an interrupted step can be repeated. No transaction is open
while the storage answers.
"""

import logging
import time
from collections import defaultdict
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from itertools import chain

from core import audit, files, idempotency, paid_images, queries, retention, workers
from core.db import Database
from core.erasures import records as erasures
from core.fine_tuning import names
from core.reports import storage_use, usage
from core.reports.storage_use import ProjectStorage
from core.settings import Settings
from core.storage import Storage
from worker.sweep.loop import Loop, Step

log = logging.getLogger(__name__)

CHUNK = 500
APPLICATION = "safelight-cleanup"

USAGE_MINUTES_AGE = timedelta(days=7)
"""How long usage is stored by the minute; then by the hour, for good."""

STORAGE_CHUNK = 5000
"""Images or files that one statement counts."""

STORAGE_SHARE = 0.02
"""Of the time, at most, in which the storage of projects is counted: a hundred million images take minutes."""

ORPHAN_AGE = timedelta(hours=1)
"""A file without a row is left alone for so long: its attempt may be about to complete."""


class Cleanup:
    """The steps of the loop `cleanup`."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._database = Database(settings, name=APPLICATION)
        self._storage = Storage(settings)
        self._storage_due_at = float("-inf")

    def loop(self) -> Loop:
        """The loop that runs the steps every `settings.cleanup`."""
        return Loop(self._settings, "cleanup", APPLICATION, self._steps, self._settings.cleanup)

    @property
    def _steps(self) -> Sequence[Step]:
        return (
            self.purge_keys,
            self.purge_audit,
            self.purge_workers,
            self.purge_batches,
            self.purge_jobs,
            self.purge_fine_tuning_jobs,
            self.purge_paid_images,
            self.purge_files,
            self.purge_erasures,
            self.merge_usage,
            self.count_storage,
            self.delete_orphans,
            self.delete_unfinished,
        )

    def run_once(self) -> None:
        """Run each step to its end. Raises what goes wrong."""
        for step in self._steps:
            for _ in step():
                pass

    def close(self) -> None:
        """Close the connections."""
        self._database.close()

    def purge_keys(self) -> Iterator[None]:
        """Delete expired idempotency keys."""
        while self._database.execute(idempotency.purge_expired(CHUNK)):
            yield

    def purge_audit(self) -> Iterator[None]:
        """Delete events of the audit log past their retention."""
        while self._database.execute(audit.purge(self._settings.audit_retention, CHUNK)):
            yield

    def purge_workers(self) -> Iterator[None]:
        """Delete the rows of workers that died long ago."""
        while self._database.execute(workers.purge_dead(CHUNK)):
            yield

    def purge_batches(self) -> Iterator[None]:
        """Delete batches past retention."""
        while self._database.execute(retention.purge_batches(self._settings.retention, CHUNK)):
            yield

    def purge_jobs(self) -> Iterator[None]:
        """Delete jobs past retention, with their images."""
        while rows := self._database.execute(retention.list_old_jobs(self._settings.retention, CHUNK)):
            yield from self._delete(key for row in rows for key in row.storage_keys)
            self._database.execute(retention.purge_jobs([row.id for row in rows]))
            log.info("deleted %d jobs past retention", len(rows))
            yield

    def purge_fine_tuning_jobs(self) -> Iterator[None]:
        """Delete fine-tuning jobs past retention that have no models."""
        while self._database.execute(retention.purge_fine_tuning_jobs(self._settings.retention, CHUNK)):
            yield

    def purge_paid_images(self) -> Iterator[None]:
        """Delete the images that waited for the storage, of jobs that have ended."""
        while self._database.execute(paid_images.purge(CHUNK)):
            yield

    def purge_files(self) -> Iterator[None]:
        """Delete expired files."""
        while rows := self._database.execute(files.list_expired(CHUNK)):
            yield from self._delete(row.storage_key for row in rows)
            self._database.execute(files.purge([row.id for row in rows]))
            log.info("deleted %d expired files", len(rows))
            yield

    def purge_erasures(self) -> Iterator[None]:
        """Delete the records of erasures past retention."""
        while self._database.execute(erasures.purge(self._settings.retention, CHUNK)):
            yield

    def merge_usage(self) -> Iterator[None]:
        """Merge the usage of old minutes to that of hours."""
        while self._database.execute(usage.merge_minutes(USAGE_MINUTES_AGE, CHUNK)):
            yield

    def count_storage(self) -> Iterator[None]:
        """Count what each project stores, unless that would take more than STORAGE_SHARE of the time."""
        began = time.monotonic()
        if began < self._storage_due_at:
            return
        totals: defaultdict[str, ProjectStorage] = defaultdict(ProjectStorage)
        for row in self._counts("images"):
            totals[row.project_id].images += row.number
            totals[row.project_id].image_bytes += row.bytes
            yield
        for row in self._counts("files"):
            totals[row.project_id].files += row.number
            totals[row.project_id].file_bytes += row.bytes
            yield
        for row in self._counts("models"):
            totals[row.project_id].models += row.number
            totals[row.project_id].model_bytes += row.bytes
            yield
        self._database.execute(storage_use.record(totals))
        self._storage_due_at = time.monotonic() + (time.monotonic() - began) / STORAGE_SHARE

    def _counts(self, kind: storage_use.Kind) -> Iterator[storage_use.StorageCount]:
        """The counts of each chunk and project."""
        after = ""
        while rows := self._database.execute(storage_use.count_chunk(kind, after, STORAGE_CHUNK)):
            yield from rows
            after = rows[0].last_id

    def delete_orphans(self) -> Iterator[None]:
        """Delete objects without a row."""
        for keys in self._list_old_keys():
            referenced_keys = set(self._database.execute(queries.referenced_keys(keys)))
            orphans = [key for key in keys if key not in referenced_keys]
            yield from self._delete(iter(orphans))
            if orphans:
                log.info("deleted %d objects without a row", len(orphans))
            yield

    def delete_unfinished(self) -> Iterator[None]:
        """Delete the beginnings of objects whose writers died."""
        if unfinished := self._storage.delete_unfinished(datetime.now(UTC) - ORPHAN_AGE):
            log.info("deleted %d unfinished objects", unfinished)
        yield

    def _delete(self, keys: Iterator[str]) -> Iterator[None]:
        for key in keys:
            self._storage.delete([key])
            yield

    def _list_old_keys(self) -> Iterator[list[str]]:
        """Keys of objects past ORPHAN_AGE, in chunks."""
        before = datetime.now(UTC) - ORPHAN_AGE
        chunk: list[str] = []
        for stored in chain.from_iterable(map(self._storage.list, ("jobs/", files.PREFIX, names.PREFIX))):
            if stored.modified_at < before:
                chunk.append(stored.key)
            if len(chunk) == CHUNK:
                yield chunk
                chunk = []
        if chunk:
            yield chunk
