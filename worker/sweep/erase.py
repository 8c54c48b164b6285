"""Runs erasures: cancels what runs, deletes objects first and rows after, in steps of bounded size.

Each step can be repeated: a process that dies leaves an erasure that the next one continues. What cannot be deleted yet
(a job in progress until its next denoising step, a batch until its files are written) is left to the next round.
"""

import logging
from collections.abc import Iterator, Sequence
from uuid import uuid4

from core import files
from core.batches import transitions as batches
from core.db import UNAVAILABLE, Database
from core.erasures import contents, fine_tuning, records
from core.erasures.contents import RowCounts
from core.erasures.records import ErasureRow
from core.errors import NotFound, StorageUnavailable
from core.fine_tuning.names import job_prefix
from core.redis.job_keys import JobKeys
from core.redis.progress import Progress
from core.rows.file import ExpiredFile, FileRow
from core.settings import Settings
from core.storage import Storage, image_prefix
from core.telemetry.job_metrics import record_ends
from worker.sweep.loop import Loop

log = logging.getLogger(__name__)

CHUNK = 500
APPLICATION = "safelight-erase"
LOCK = "erase"


class Eraser:
    """The loop `erase`, and one erasure."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._database = Database(settings, name=APPLICATION)
        self._storage = Storage(settings)
        self._progress = Progress(settings)
        self._job_keys = JobKeys(settings)

    def loop(self) -> Loop:
        """The loop that runs all open erasures every `settings.sweep`."""
        return Loop(self._settings, LOCK, APPLICATION, (self.erase_all,))

    def close(self) -> None:
        """Close the connections."""
        self._database.close()
        self._job_keys.close()

    def erase_all(self) -> Iterator[None]:
        """Continue each open erasure."""
        after = ""
        while rows := self._database.execute(records.list_open(after)):  # one: it may finish others too
            after = rows[0].id
            try:
                yield from self.erase(rows[0])
            except (*UNAVAILABLE, StorageUnavailable):
                raise
            except Exception:  # whatever it was, it concerns this erasure alone; the next round tries it again
                log.exception("erasure %s failed and is tried again", after)

    def erase(self, erasure: ErasureRow) -> Iterator[None]:
        """Delete what can be deleted now, and finish the erasure if nothing is left."""
        yield from self._cancel(erasure)
        if erasure.kind in ("job", "user"):
            yield from self._erase_lines(erasure)
        while job_ids := self._database.execute(contents.list_jobs(erasure, CHUNK)):
            yield from self._erase_jobs(erasure, job_ids)
        while batch_ids := self._database.execute(contents.list_batches(erasure, CHUNK)):
            yield from self._erase_batches(erasure, batch_ids)
        while job_ids := self._database.execute(fine_tuning.list_jobs(erasure, CHUNK)):
            yield from self._erase_fine_tuning(erasure, job_ids)
        if self._database.execute(contents.find_remaining(erasure)):
            return
        if erasure.kind == "project":
            yield from self._erase_rest(erasure)
        for row in self._database.execute(records.finish(erasure.id)):
            log.info("erasure %s of a %s is finished: %s", row.id, row.kind, dict(row.counts))

    def _cancel(self, erasure: ErasureRow) -> Iterator[None]:
        for batch_id in self._database.execute(contents.list_open_batches(erasure)):
            self._database.execute(batches.cancel(erasure.project_id, batch_id))
            yield
        self._database.execute(fine_tuning.cancel_jobs(erasure))
        while rows := record_ends(self._database.execute(contents.cancel_jobs(erasure, CHUNK))):
            self._progress.publish_changes([row.id for row in rows])
            yield

    def _erase_jobs(self, erasure: ErasureRow, job_ids: Sequence[str]) -> Iterator[None]:
        """Delete jobs with their images and with the input images that no other job uses."""
        objects = 0
        for job_id in job_ids:
            objects += self._delete_prefix(image_prefix(job_id))
            yield
        uploads = erasure.kind in ("user", "project")
        inputs = self._database.execute(contents.list_unused_inputs(erasure.project_id, job_ids, uploads=uploads))
        self._storage.delete(row.storage_key for row in inputs)
        with self._database.transaction() as transaction:
            deleted_files = transaction.execute(contents.delete_files(erasure.project_id, [row.id for row in inputs]))
            (counts,) = transaction.execute(contents.delete_jobs(erasure.project_id, job_ids))
            transaction.execute(
                records.count(erasure.id, _counts(counts, files=len(deleted_files), objects=objects + len(inputs)))
            )
        self._job_keys.delete(job_ids)
        yield

    def _erase_fine_tuning(self, erasure: ErasureRow, job_ids: Sequence[str]) -> Iterator[None]:
        """Delete fine-tuning jobs with their models, and the training files that no other job has."""
        rows = self._database.execute(fine_tuning.list_training_files(erasure, job_ids))
        yield from self._erase_files(erasure, rows)
        objects = 0
        for job_id in job_ids:
            objects += self._delete_prefix(job_prefix(job_id))
            yield
        with self._database.transaction() as transaction:
            deleted_jobs = transaction.execute(fine_tuning.delete_jobs(erasure.project_id, job_ids))
            counts = {"fine_tuning_jobs": len(deleted_jobs), "objects": objects}
            transaction.execute(records.count(erasure.id, counts))
        yield

    def _erase_batches(self, erasure: ErasureRow, batch_ids: Sequence[str]) -> Iterator[None]:
        """Delete batches with their files."""
        project_id = erasure.project_id
        for list_files in (contents.list_output_files, contents.list_input_files):
            rows = self._database.execute(list_files(project_id, batch_ids))
            yield from self._erase_files(erasure, rows)
        with self._database.transaction() as transaction:
            (counts,) = transaction.execute(contents.delete_batches(project_id, batch_ids))
            transaction.execute(records.count(erasure.id, _counts(counts)))
        yield

    def _erase_lines(self, erasure: ErasureRow) -> Iterator[None]:
        """Delete lines of batches that the erasure does not delete as a whole.

        Their input files are not read again, so those are deleted; output files are written anew without the lines.
        """
        project_id = erasure.project_id
        for batch_id in self._database.execute(contents.list_batches_of_lines(erasure)):
            inputs = [
                row
                for row in self._database.execute(contents.list_input_files(project_id, [batch_id]))
                if row.is_copy or erasure.kind == "user"
            ]
            yield from self._erase_files(erasure, inputs)
            job_ids = self._database.execute(contents.list_lines(erasure, batch_id))
            line_ids = frozenset(_ID_START + job_id.removeprefix("job_").encode() for job_id in job_ids)
            for row in self._database.execute(contents.list_output_files(project_id, [batch_id])):
                yield from self._rewrite(row, line_ids)
            if erasure.kind == "job":
                self._database.execute(records.finish_lines(batch_id, job_ids))

    def _erase_files(self, erasure: ErasureRow, rows: Sequence[FileRow | ExpiredFile]) -> Iterator[None]:
        objects = 0
        for row in rows:
            objects += self._delete_object(row)
            yield
        deleted_files = self._database.execute(contents.delete_files(erasure.project_id, [row.id for row in rows]))
        self._database.execute(records.count(erasure.id, {"files": len(deleted_files), "objects": objects}))

    def _rewrite(self, row: FileRow, line_ids: frozenset[bytes]) -> Iterator[None]:
        """Write a file anew without some lines. Nothing refers to the former object any more, and it is deleted."""
        size = dropped_lines = 0

        def remaining_lines() -> Iterator[bytes]:
            nonlocal size, dropped_lines
            for line in _lines(self._storage.stream(row.storage_key)):
                if line[:_ID_END] in line_ids:
                    dropped_lines += 1
                else:
                    size += len(line)
                    yield line

        key = f"{files.rewritten_prefix(row.id)}{uuid4().hex}"
        try:
            self._storage.write(key, remaining_lines())
        except NotFound:  # its owner has deleted it
            return
        yield
        if not dropped_lines:
            self._delete_others(row.id, row.storage_key)
        elif self._database.execute(contents.move_file(row, key, size)):
            self._delete_others(row.id, key)
        else:
            self._storage.delete([key])
        yield

    def _delete_others(self, file_id: str, current_key: str) -> None:
        """Delete the objects that a file had before, also those that an interrupted run left."""
        former = [stored.key for stored in self._storage.list(files.rewritten_prefix(file_id))]
        self._storage.delete(key for key in [*former, files.storage_key(file_id)] if key != current_key)

    def _erase_rest(self, erasure: ErasureRow) -> Iterator[None]:
        """Delete what belongs to a project itself: files, idempotency keys, endpoints, provider calls."""
        project_id = erasure.project_id
        while rows := self._database.execute(contents.list_files(project_id, CHUNK)):
            yield from self._erase_files(erasure, rows)
        for name, delete in (
            ("idempotency_keys", contents.delete_keys),
            ("provider_calls", contents.delete_calls),
            ("webhook_endpoints", contents.delete_endpoints),
        ):
            while deleted := self._database.execute(delete(project_id, CHUNK)):
                self._database.execute(records.count(erasure.id, {name: len(deleted)}))
                yield

    def _delete_object(self, row: FileRow | ExpiredFile) -> int:
        """Delete the object of a file, and what an interrupted run left of it."""
        self._storage.delete([row.storage_key])
        return 1 + self._delete_prefix(files.rewritten_prefix(row.id))

    def _delete_prefix(self, prefix: str) -> int:
        keys = [stored.key for stored in self._storage.list(prefix)]
        self._storage.delete(keys)
        return len(keys)


_ID_START = b'{"id": "batch_req_'
_ID_END = len(_ID_START) + 26
"""The length of the part of an output file's line that names its job (`worker/batches/output_files.py`)."""


def _lines(chunks: Iterator[bytes]) -> Iterator[bytes]:
    """The lines of a file, with their ends."""
    parts: list[bytes] = []
    for chunk in chunks:
        *complete, rest = chunk.split(b"\n")
        for line in complete:
            yield b"".join([*parts, line, b"\n"])
            parts = []
        if rest:
            parts.append(rest)
    if parts:
        yield b"".join(parts)


def _counts(rows: RowCounts, **counts: int) -> dict[str, int]:
    names = ("jobs", "images", "batches", "deliveries", "idempotency_keys", "provider_calls")
    return {**{name: getattr(rows, name) for name in names}, **counts}
