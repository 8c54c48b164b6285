"""Reports the progress of a micro-batch: to its heartbeat, and over Redis to the clients that follow its jobs.

Progress and previews may be lost. A preview is generated only at the steps that a job's `partial_images` ask for, so a
micro-batch without such a job pays nothing for it.
"""

import base64
import io
import logging
import time
from collections.abc import Callable, Sequence

from PIL.Image import Image

from core.generation import Stopped
from core.redis.progress import Preview, Step
from core.rows.job import JobRow
from worker.generation.context import Context
from worker.generation.heartbeat import Heartbeat

log = logging.getLogger(__name__)

PUBLISH_SECONDS = 0.25
"""Progress is published at most four times a second, and not of jobs that are estimated to end sooner."""

PREVIEW_PX = 256
"""Longest side of a preview: some kilobytes as WebP."""


class MicrobatchReporter:
    """Takes the denoiser's steps: informs the heartbeat, publishes progress, stops when no job is active."""

    def __init__(self, context: Context, batch: Sequence[JobRow], heartbeat: Heartbeat) -> None:
        self._context = context
        self._heartbeat = heartbeat
        self._attempts = {job.id: job.attempts for job in batch}
        self._deadline = time.monotonic() + context.settings.attempt_timeout.total_seconds()
        # Whoever follows such jobs learns of their end at once.
        self._is_brief = sum(job.cost for job in batch) < PUBLISH_SECONDS
        self._published_at = time.monotonic() if self._is_brief else 0.0
        self._partial_images = {job.id: job.parameters.partial_images for job in batch if job.parameters.partial_images}
        self._last_preview: dict[tuple[str, int], int] = {}
        self._images: Sequence[tuple[str, int]] = ()
        self._step = self._steps = 0
        self.passes_done = 0
        self.passes = 1

    @property
    def is_too_late(self) -> bool:
        """Whether the attempt has taken as long as an attempt may."""
        return time.monotonic() >= self._deadline

    def begin(self, images: Sequence[tuple[str, int]]) -> None:
        """Set the images of the next pass over the device: of each its job, and its index there."""
        self._images = images

    def step(self, current: int, total: int) -> None:
        """See `core.generation.ProgressReporter`."""
        self._step, self._steps = current, total
        if current:  # a crash after the first step must count for the jobs
            self._heartbeat.wait_for_start()
        self._heartbeat.report_progress()
        if self._steps:
            self._context.pass_clock.update((self.passes_done + current / total) / self.passes)
        if not self._heartbeat.has_active_jobs or self._context.drain.is_over or self.is_too_late:
            raise Stopped
        now = time.monotonic()
        is_due = now - self._published_at >= PUBLISH_SECONDS or (current == total and not self._is_brief)
        if self._heartbeat.has_started and is_due:
            self._published_at = now
            self._context.step_publisher.publish(
                {job_id: self._get_step(job_id) for job_id in self._attempts if self._heartbeat.is_active(job_id)}
            )

    def preview(self, draw: Callable[[], Sequence[Image]]) -> None:
        """See `core.generation.ProgressReporter`. A preview that fails is the last: the images matter more."""
        is_due = self._partial_images and self._heartbeat.has_started
        numbers = self._list_due_previews() if is_due else {}
        if not numbers:
            return
        try:
            images = draw()
        except Stopped:
            raise
        except Exception as error:  # whatever it was, the images themselves may still succeed
            log.warning("no previews of this micro-batch: %s: %s", type(error).__name__, error)
            self._partial_images = {}
            return
        for position, number in numbers.items():
            job_id, index = self._images[position]
            self._last_preview[job_id, index] = number
            self._publish(job_id, self._get_step(job_id), index, number - 1, images[position])

    def show(self, job_id: str, number: int, image: Image) -> None:
        """Publish a provider's unfinished image; see `core.generation.Show`. One that fails is the last."""
        count = self._partial_images.get(job_id, 0)
        if number < count and self._heartbeat.is_active(job_id):
            step = Step(attempt=self._attempts[job_id], step=number + 1, steps=count + 1)
            try:
                self._publish(job_id, step, 0, number, image)
            except Exception as error:  # whatever it was, the image that is paid for may still come
                log.warning("no more previews of job %s: %s: %s", job_id, type(error).__name__, error)
                self._partial_images = {}

    def _publish(self, job_id: str, step: Step, index: int, number: int, image: Image) -> None:
        preview = Preview(
            **step,
            index=index,
            partial_image_index=number,
            media_type="image/webp",
            b64_json=base64.b64encode(_small(image)).decode(),
        )
        self._context.progress.publish_preview(job_id, preview)

    def _get_step(self, job_id: str) -> Step:
        step = self.passes_done * self._steps + self._step
        return Step(attempt=self._attempts[job_id], step=step, steps=self.passes * self._steps)

    def _list_due_previews(self) -> dict[int, int]:
        """By position in this pass: the number of the preview that is due of an image."""
        numbers = {}
        for position, (job_id, index) in enumerate(self._images):
            count = self._partial_images.get(job_id, 0)
            if not count or self._step >= self._steps or not self._heartbeat.is_active(job_id):
                continue
            number = self._step * (count + 1) // self._steps  # evenly spaced; the finished image comes after the last
            if number > self._last_preview.get((job_id, index), 0):
                numbers[position] = number
        return numbers


def _small(image: Image) -> bytes:
    """An image as the bytes of a small WebP."""
    small = image.convert("RGB")
    small.thumbnail((PREVIEW_PX, PREVIEW_PX))
    buffer = io.BytesIO()
    small.save(buffer, "WEBP", quality=75, method=0)
    return buffer.getvalue()
