"""Stores the images of a micro-batch, once they are moderated.

While the storage or the moderation is unavailable, the same bytes are tried again, for `storage_retry` in each
micro-batch. Images that were paid for are saved in the database at the first failure (`core.paid_images`), so that
they outlive the attempt and the worker. Those that cannot be saved there are tried until the attempt ends.
"""

import hashlib
import logging
import time
from collections.abc import Callable
from importlib.metadata import version
from typing import TypeVar

from PIL.Image import Image

from core import paid_images
from core.catalog import Model
from core.errors import StorageUnavailable
from core.generation_errors import ModerationUnavailable
from core.ids import new_id
from core.jobs import StoredImage
from core.rows.job import JobRow
from core.storage import MEDIA_TYPES, image_key
from worker.generation.context import Context
from worker.generation.encode import encode
from worker.generation.heartbeat import Heartbeat
from worker.generation.image_files import ImageFile, make_file, receipt_parameters
from worker.generation.local import Outcome
from worker.generation.moderation import check_images
from worker.generation.reproduction import compare_with_original

log = logging.getLogger(__name__)

VERSION = version("safelight")

RETRY_SECONDS = 1.0
"""Pause between two tries."""

Result = TypeVar("Result")


class Uploads:
    """Stores the images of one micro-batch."""

    def __init__(self, context: Context, heartbeat: Heartbeat, before_wait: Callable[[], None]) -> None:
        """before_wait: records the results of the jobs before, so that they do not wait for a storage that is away."""
        self._context = context
        self._heartbeat = heartbeat
        self._before_wait = before_wait
        self._retries_end: float | None = None
        """When to give up, in seconds of the monotonic clock; from the first failure on."""

    def store(self, job: JobRow, outcome: Outcome) -> list[StoredImage]:
        """Moderate and store a job's images, and add to the warnings of the outcome. They are not in the database yet.

        Raises ContentPolicyViolation, ModerationUnavailable, PostprocessFailed or StorageUnavailable.
        """
        model = self._context.catalog.model(job.model)
        self._retry(job, outcome, lambda: check_images(self._context.moderator, job, outcome.images))
        return [self._store_image(job, outcome, index, image, model) for index, image in enumerate(outcome.images)]

    def _store_image(self, job: JobRow, outcome: Outcome, index: int, image: Image, model: Model) -> StoredImage:
        self._heartbeat.report_progress()
        has_metadata = self._context.settings.embed_metadata
        file = make_file(image, job, index, has_metadata=has_metadata, used_values=outcome.used_values)
        key = image_key(job.id, self._heartbeat.lease, index, file.parameters.output_format)
        media_type = MEDIA_TYPES[file.parameters.output_format]
        receipt = self._receipt(job, outcome, file, model)
        data, warnings = file.data, file.warnings
        if self._context.content_credentials is not None:
            data, signing_warnings = self._context.content_credentials.sign(
                data, media_type, job.operation, job.model, index, receipt
            )
            warnings += signing_warnings
        self._retry(job, outcome, lambda: self._context.storage.put(key, data, media_type))
        outcome.warnings += warnings
        stored_image = StoredImage(
            id=new_id("img"),
            index=index,
            seed=file.parameters.seed,
            storage_key=key,
            media_type=media_type,
            width=file.width,
            height=file.height,
            bytes=len(data),
            sha256=hashlib.sha256(data).hexdigest(),
            receipt=receipt,
        )
        stored_image["reproduction"] = compare_with_original(self._context, job, stored_image, data)
        return stored_image

    def _receipt(self, job: JobRow, outcome: Outcome, file: ImageFile, model: Model) -> dict[str, object]:
        return {
            **outcome.receipt,
            **receipt_parameters(job, file.parameters, model),
            **outcome.used_values,
            "safelight": VERSION,
            "processing_seconds": file.processing_seconds,
            "worker": self._context.name,
        }

    def _retry(self, job: JobRow, outcome: Outcome, action: Callable[[], Result]) -> Result:
        """Try again while the storage or the moderation is unavailable, for `storage_retry` in all.

        Images that were paid for and are not in the database are tried as long as the attempt may take.
        """
        while True:
            try:
                return action()
            except (ModerationUnavailable, StorageUnavailable) as error:
                if outcome.is_paid and not outcome.is_saved:
                    outcome.is_saved = self._save(job, outcome)
                is_last_copy = outcome.is_paid and not outcome.is_saved  # giving up would lose what was paid for
                seconds = RETRY_SECONDS if is_last_copy else self._seconds_left()
                if seconds <= 0 or not self._heartbeat.is_active(job.id) or self._context.drain.is_over:
                    raise
                log.warning("job %s not stored yet: %s", job.id, error.message)
                self._before_wait()
                self._heartbeat.report_progress()
                self._heartbeat.wait(min(RETRY_SECONDS, seconds))

    def _seconds_left(self) -> float:
        now = time.monotonic()
        if self._retries_end is None:
            self._retries_end = now + self._context.settings.storage_retry.total_seconds()
        return self._retries_end - now

    def _save(self, job: JobRow, outcome: Outcome) -> bool:
        """Save images that were paid for in the database. Returns whether they are there."""
        files = [encode(image, "png", None, None) for image in outcome.images]
        if sum(map(len, files)) > paid_images.MAX_JOB_BYTES:
            log.warning("job %s: its images are too large to wait in the database", job.id)
            return False
        statement = paid_images.save(job.id, self._heartbeat.lease, files, outcome.receipt)
        try:
            return bool(self._context.database.execute(statement))
        except Exception:  # the images are in memory yet; the next try may save them
            log.warning("job %s: its images are not saved in the database yet", job.id, exc_info=True)
            return False
