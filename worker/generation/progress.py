"""What a micro-batch's denoiser tells, and whom it concerns: the heartbeat, who follows a job, who wants a preview.

Progress and previews go over Redis and may be lost. A preview is drawn only at the steps that a job's `partial_images`
make due, so that a micro-batch nobody looks into pays nothing for it.
"""

import base64
import io
import logging
import time
from collections.abc import Callable, Sequence

from PIL.Image import Image

from core.generation import Stopped
from core.redis.progress import Preview, Step
from core.rows import JobRow
from worker.generation.context import Context
from worker.generation.heartbeat import Heartbeat

log = logging.getLogger(__name__)

PUBLISH_SECONDS = 0.25
"""Progress is published at most four times a second."""

PREVIEW_PX = 256
"""Longest side of a preview: some kilobytes as WebP."""


class MicrobatchReporter:
    """Hears the denoiser's steps: keeps the heartbeat going, publishes progress, stops what nobody wants."""

    def __init__(self, context: Context, batch: Sequence[JobRow], heartbeat: Heartbeat) -> None:
        self._context = context
        self._heartbeat = heartbeat
        self._attempts = {job.id: job.attempts for job in batch}
        self._deadline = time.monotonic() + context.settings.attempt_timeout.total_seconds()
        self._published_at = 0.0
        self._asked = {job.id: job.parameters.partial_images for job in batch if job.parameters.partial_images}
        self._shown: dict[tuple[str, int], int] = {}
        self._drawn: Sequence[tuple[str, int]] = ()
        self._done = self._total = 0
        self.passes_done = 0
        self.passes = 1

    @property
    def is_too_late(self) -> bool:
        """Whether the attempt has taken as long as an attempt may."""
        return time.monotonic() >= self._deadline

    def begin(self, drawn: Sequence[tuple[str, int]]) -> None:
        """Say which images the next pass over the device draws: of each its job, and its index there."""
        self._drawn = drawn

    def step(self, done: int, total: int) -> None:
        """See `core.generation.Watch`."""
        self._done, self._total = done, total
        self._heartbeat.moved()
        if not self._heartbeat.wants_any or self._context.drain.is_over or self.is_too_late:
            raise Stopped
        now = time.monotonic()
        if now - self._published_at >= PUBLISH_SECONDS or done == total:
            self._published_at = now
            self._context.progress.steps(
                {job_id: self._step(job_id) for job_id in self._attempts if self._heartbeat.wants(job_id)}
            )

    def preview(self, draw: Callable[[], Sequence[Image]]) -> None:
        """See `core.generation.Watch`. A preview that fails is the last: the images matter more."""
        due = self._due() if self._asked else {}
        if not due:
            return
        try:
            images = draw()
        except Stopped:
            raise
        except Exception as error:  # whatever it was, the images themselves may still come out well
            log.warning("no previews of this micro-batch: %s: %s", type(error).__name__, error)
            self._asked = {}
            return
        for position, number in due.items():
            job_id, index = self._drawn[position]
            self._shown[job_id, index] = number
            self._publish(job_id, self._step(job_id), index, number - 1, images[position])

    def show(self, job_id: str, number: int, image: Image) -> None:
        """Pass on a look at a provider's unfinished image; see `core.generation.Show`."""
        asked = self._asked.get(job_id, 0)
        if number < asked and self._heartbeat.wants(job_id):
            step = Step(attempt=self._attempts[job_id], step=number + 1, steps=asked + 1)
            self._publish(job_id, step, 0, number, image)

    def _publish(self, job_id: str, step: Step, index: int, number: int, image: Image) -> None:
        preview = Preview(
            **step,
            index=index,
            partial_image_index=number,
            media_type="image/webp",
            b64_json=base64.b64encode(_small(image)).decode(),
        )
        self._context.progress.preview(job_id, preview)

    def _step(self, job_id: str) -> Step:
        step = self.passes_done * self._total + self._done
        return Step(attempt=self._attempts[job_id], step=step, steps=self.passes * self._total)

    def _due(self) -> dict[int, int]:
        """Images of this pass, by position, of which a preview is due, and which one of them."""
        due = {}
        for position, (job_id, index) in enumerate(self._drawn):
            asked = self._asked.get(job_id, 0)
            if not asked or self._done >= self._total or not self._heartbeat.wants(job_id):
                continue
            number = self._done * (asked + 1) // self._total  # evenly spaced; the finished image comes after the last
            if number > self._shown.get((job_id, index), 0):
                due[position] = number
        return due


def _small(image: Image) -> bytes:
    """An image as the bytes of a small WebP."""
    small = image.convert("RGB")
    small.thumbnail((PREVIEW_PX, PREVIEW_PX))
    buffer = io.BytesIO()
    small.save(buffer, "WEBP", quality=75, method=0)
    return buffer.getvalue()
