"""Images on their way into a directory, a few at a time. What is there already, whole, is not fetched again."""

import threading
import time
from collections import Counter
from queue import SimpleQueue
from typing import Literal, Self

from cli.batch.client import LineJob
from cli.batch.output_directory import OutputDirectory
from cli.client import Client, Image
from cli.errors import NotThere
from cli.parameters import extension_of

AT_A_TIME = 8
WAITING = 64
"""Images that may wait for a thread; who adds more waits too."""

LEAVE_SECONDS = 5.0
"""How long images in hand may take after Ctrl-C."""

Outcome = Literal["fetched", "found", "gone"]


class Downloads:
    """Fetches the images of jobs that completed. Leaving the context waits for all of them."""

    def __init__(self, client: Client, directory: OutputDirectory) -> None:
        self._client = client
        self._directory = directory
        self._waiting: SimpleQueue[tuple[str, Image] | None] = SimpleQueue()
        self._room = threading.Semaphore(WAITING)
        self._lock = threading.Lock()
        self._trouble: BaseException | None = None
        self._is_left = False
        self._threads = [threading.Thread(target=self._work, daemon=True) for _ in range(AT_A_TIME)]
        self._counted: Counter[Outcome] = Counter()

    @property
    def here(self) -> int:
        """How many images are in the directory, whole."""
        return self._counted["fetched"] + self.found

    @property
    def found(self) -> int:
        """How many of them were there before."""
        return self._counted["found"]

    @property
    def gone(self) -> int:
        """How many the API does not have any more."""
        return self._counted["gone"]

    def add(self, job: LineJob) -> None:
        """Fetch a job's images. Raises CommandError once one cannot be fetched or written."""
        for image in job["images"]:
            self._room.acquire()
            if self._trouble is not None:
                raise self._trouble
            name = self._directory.image(job["custom_id"], image["index"], extension_of(job["output_format"]))
            self._waiting.put((name, image))

    def _work(self) -> None:
        while (next_one := self._waiting.get()) is not None:
            try:
                if self._trouble is None and not self._is_left:
                    outcome = self._fetch(*next_one)
                    with self._lock:
                        self._counted[outcome] += 1
            except BaseException as trouble:  # raised again in the thread that adds images, which would wait for ever
                self._trouble = trouble
            finally:
                self._room.release()

    def _fetch(self, name: str, image: Image) -> Outcome:
        if self._directory.has(name, image):
            return "found"
        try:
            with self._directory.writing(name) as file:
                self._client.download_into(file, image)
        except NotThere:
            return "gone"
        return "fetched"

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        self._is_left = kind is not None
        for _thread in self._threads:
            self._waiting.put(None)
        deadline = time.monotonic() + LEAVE_SECONDS
        for thread in self._threads:
            thread.join(None if kind is None else max(0.0, deadline - time.monotonic()))
        if kind is None and self._trouble is not None:
            raise self._trouble
