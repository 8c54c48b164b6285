"""Downloads images into a directory, several at a time. An image that is there and intact is not downloaded again."""

import threading
import time
from collections import Counter
from queue import SimpleQueue
from typing import Literal, Self

from cli.batch.output_directory import OutputDirectory
from cli.parameters import extension_of
from safelight_client import Image, Job, NotFound

THREADS = 8
MAX_QUEUE_LENGTH = 64
"""Images that wait for a thread. With more, `add` blocks."""

INTERRUPT_SECONDS = 5.0
"""Time for running downloads after Ctrl-C."""

Outcome = Literal["download", "existing", "missing"]


class Downloads:
    """Downloads the images of completed jobs in threads. A context manager: the exit waits for all downloads."""

    def __init__(self, directory: OutputDirectory) -> None:
        self._directory = directory
        self._queue: SimpleQueue[tuple[Job, Image] | None] = SimpleQueue()
        self._slots = threading.Semaphore(MAX_QUEUE_LENGTH)
        self._lock = threading.Lock()
        self._error: BaseException | None = None
        self._is_interrupted = False
        self._threads = [threading.Thread(target=self._work, daemon=True) for _ in range(THREADS)]
        self._counts: Counter[Outcome] = Counter()

    @property
    def image_count(self) -> int:
        """The number of intact images in the directory."""
        return self._counts["download"] + self.existing_count

    @property
    def existing_count(self) -> int:
        """The number of images that were in the directory before."""
        return self._counts["existing"]

    @property
    def missing_count(self) -> int:
        """The number of images that the API has deleted."""
        return self._counts["missing"]

    def add(self, job: Job) -> None:
        """Queue a job's images. Raises the error of an earlier image that could not be downloaded or written."""
        for image in job.images:
            self._slots.acquire()
            if self._error is not None:
                raise self._error
            self._queue.put((job, image))

    def _work(self) -> None:
        while (item := self._queue.get()) is not None:
            try:
                if self._error is None and not self._is_interrupted:
                    outcome = self._download(*item)
                    with self._lock:
                        self._counts[outcome] += 1
            except BaseException as error:  # raised again in the thread that calls add()
                self._error = error
            finally:
                self._slots.release()

    def _download(self, job: Job, image: Image) -> Outcome:
        extension = extension_of(image.media_type)
        name = self._directory.image_name(job.custom_id or job.id, job.prompt, image.index, extension)
        if self._directory.has(name, image):
            return "existing"
        if self._directory.rename_image(job.custom_id or job.id, name, image, extension):
            return "existing"
        try:
            with self._directory.open_file(name) as file:
                image.download_into(file)
        except NotFound:
            return "missing"
        return "download"

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        self._is_interrupted = kind is not None
        for _thread in self._threads:
            self._queue.put(None)
        deadline = time.monotonic() + INTERRUPT_SECONDS
        for thread in self._threads:
            thread.join(None if kind is None else max(0.0, deadline - time.monotonic()))
        if kind is None and self._error is not None:
            raise self._error
