"""Waits for wake-ups of this worker's queues while a thread of Celery's pool is free, and has it run the queue."""

import logging
import threading
from collections.abc import Callable, Sequence
from typing import Any

from redis.exceptions import RedisError

from core.db import UNAVAILABLE
from core.errors import first_line
from core.redis.wakeups import RETRY_SECONDS, Wakeups
from worker.generation import microbatch
from worker.generation.context import Context

log = logging.getLogger(__name__)


class WakeupThread:
    """Begins with `start`, ends with the process; after the drain has begun it takes no wake-up from others."""

    def __init__(
        self, context: Context, queues: Sequence[str], apply_async: Callable[..., Any], concurrency: int
    ) -> None:
        """apply_async: has a thread of Celery's pool call a function. concurrency: the number of these threads."""
        self._context = context
        self._queues = list(queues)
        self._apply_async = apply_async
        self._concurrency = concurrency
        self._wakeups = Wakeups(context.settings)
        self._thread = threading.Thread(target=self._run, name="wakeups", daemon=True)
        self.is_selected = True
        """False: an operator has paused the worker."""

    def start(self) -> None:
        """Begin to wait."""
        self._thread.start()

    def join(self) -> None:
        """Wait for its end, which follows the first wake-up of a drain."""
        self._thread.join()

    def _run(self) -> None:
        while not self._context.drain.has_begun:
            if not self.is_selected:
                self._context.drain.wait(RETRY_SECONDS)
                continue
            self._context.pool_threads.wait(self._concurrency)
            queue = self._wait()
            if queue is None:
                continue
            self._queues.remove(queue)
            self._queues.append(queue)  # the others come first now
            try:
                self._apply_async(self._run_queue, (queue,))
            except RuntimeError:  # the pool has stopped
                return

    def _wait(self) -> str | None:
        try:
            queue = self._wakeups.wait(self._queues)
        except (RedisError, OSError, TimeoutError) as error:
            log.warning("redis does not answer, no wake-ups: %s", first_line(error))
            self._context.drain.wait(RETRY_SECONDS)
            return None
        if queue is None or self._may_take():
            return queue
        self._wakeups.send(queue)  # to another worker
        return None

    def _may_take(self) -> bool:
        """Whether a thread runs the queue at once. Messages may have taken all threads while this one waited."""
        if self._context.drain.has_begun or not self.is_selected:
            return False
        return self._context.pool_threads.reserve(self._concurrency)

    def _run_queue(self, queue: str) -> None:
        try:
            microbatch.run_queue(self._context, queue)
        except UNAVAILABLE as error:
            log.warning("the database is unavailable: %s", first_line(error))
        except Exception:  # whatever it was, the thread of the pool must go on
            log.exception("queue %s could not be run", queue)
        finally:
            self._context.pool_threads.release()
