"""The sweep: every few seconds, puts right what nobody else will. `python -m worker.sweep`; safe to run twice.

Takes back jobs whose lease ran out, ends those that waited too long, rings for queues where jobs wait, forgets old
idempotency keys, and once a while deletes what retention and superseded attempts left behind. A plain loop rather than
Celery beat: it must work when Redis does not (docs/decisions/0004). Beside it, in a thread of its own, the batch
processor looks after batches (`worker/batches/processor.py`).
"""

import logging
import signal
import threading
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from itertools import chain

import sqlalchemy as sa

from core import files, idempotency, jobs, provider_calls, queries, retention
from core.db import UNAVAILABLE, Database, RowT, Statement
from core.errors import StorageUnavailable, first_line
from core.outbox import deliveries
from core.redis.notifier import Notifier
from core.redis.progress import Progress
from core.settings import Settings
from core.storage import Storage
from worker.batches.processor import BatchProcessor

log = logging.getLogger(__name__)

LOCK = 7305513
"""Advisory lock that one sweep holds, so that a second one has nothing to do; an arbitrary constant of ours."""

CHUNK = 500
TIDY = timedelta(minutes=10)
"""How often files are looked through; everything else is looked at each time."""

ORPHAN_AGE = timedelta(hours=1)
"""A file that no row speaks of is left alone for so long: its attempt may be about to complete."""


class Sweep:
    """The parts of a sweep, and when it last tidied up."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._database = Database(settings, name="safelight-sweep")
        self._storage = Storage(settings)
        self._progress = Progress(settings)
        self._notifier = Notifier(settings)
        self._tidy_at = time.monotonic() + TIDY.total_seconds()

    def run(self) -> None:
        """Sweep once; nothing happens while another sweep is at it."""
        with self._database.transaction() as transaction:
            if not transaction.execute(sa.select(sa.func.pg_try_advisory_xact_lock(LOCK)))[0][0]:
                return
            self.jobs()
            if time.monotonic() >= self._tidy_at:
                self._tidy_at = time.monotonic() + TIDY.total_seconds()
                self.files()

    def close(self) -> None:
        """Close the connections."""
        self._database.close()

    def jobs(self) -> None:
        """Take back lost jobs, end stale ones, ring for waiting ones."""
        reclaimed = list(self._all(jobs.reclaim(self._settings.max_crashes, CHUNK)))
        expired = list(self._all(jobs.expire(CHUNK)))
        for call in self._database.execute(provider_calls.abandon_lost()):
            log.warning("call %s of job %s: nobody knows what came of it", call.id, call.job_id)
        for row in reclaimed:
            log.warning("job %s: its lease ran out; now %s", row.id, row.status)
        self._progress.changed([row.id for row in (*reclaimed, *expired)])
        for queue in self._database.execute(queries.claimable_queues()):
            self._notifier.notify(queue)
        if given_up := sum(1 for _ in self._all(deliveries.give_up_unreachable(CHUNK))):
            log.info("gave up %d deliveries to endpoints that are disabled or deleted", given_up)

    def _all(self, statement: Statement[RowT]) -> Iterator[RowT]:
        """Run a statement that has a limit until it returns nothing more."""
        while rows := self._database.execute(statement):
            yield from rows

    def files(self) -> None:
        """Delete what is past its time (objects first, rows after), what no row speaks of, and old keys."""
        purged_keys = sum(1 for _ in self._all(idempotency.purge_expired(CHUNK)))
        purged_batches = sum(1 for _ in self._all(retention.purge_batches(self._settings.retention, CHUNK)))
        if purged_keys or purged_batches:
            log.info("deleted %d idempotency keys and %d batches past their time", purged_keys, purged_batches)
        while old := self._database.execute(retention.list_old_jobs(self._settings.retention, CHUNK)):
            self._storage.delete(key for row in old for key in row.storage_keys)
            self._database.execute(retention.purge_jobs([row.id for row in old]))
            log.info("deleted %d jobs past retention", len(old))
        while gone := self._database.execute(files.list_expired(CHUNK)):
            self._storage.delete(row.storage_key for row in gone)
            self._database.execute(files.purge([row.id for row in gone]))
            log.info("deleted %d expired files", len(gone))
        for keys in self._old_files():
            known = set(self._database.execute(queries.referenced_keys(keys)))
            orphans = [key for key in keys if key not in known]
            self._storage.delete(orphans)
            if orphans:
                log.info("deleted %d files that no row speaks of", len(orphans))
        if unfinished := self._storage.delete_unfinished(datetime.now(UTC) - ORPHAN_AGE):
            log.info("deleted %d files that were never finished", unfinished)

    def _old_files(self) -> Iterator[list[str]]:
        """Keys of files past ORPHAN_AGE, a chunk at a time."""
        before = datetime.now(UTC) - ORPHAN_AGE
        chunk: list[str] = []
        for found in chain(self._storage.list("jobs/"), self._storage.list(files.PREFIX)):
            if found.modified_at < before:
                chunk.append(found.key)
            if len(chunk) == CHUNK:
                yield chunk
                chunk = []
        if chunk:
            yield chunk


def main() -> None:
    """Sweep until told to stop."""
    settings = Settings()
    logging.basicConfig(level=settings.log_level.upper(), format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    processor = threading.Thread(target=BatchProcessor(settings).run, args=[stop], name="batch processor")
    processor.start()
    sweep = Sweep(settings)
    log.info("sweeping every %s", settings.sweep)
    try:
        while not stop.is_set():
            try:
                sweep.run()
            except UNAVAILABLE as error:
                log.warning("the database is away: %s", first_line(error))
            except StorageUnavailable as error:
                log.warning("the store is away: %s", error.message)
            stop.wait(settings.sweep.total_seconds())
    finally:  # the batch processor must not keep a process alive that sweeps no more
        stop.set()
        sweep.close()
        processor.join()


if __name__ == "__main__":
    main()
