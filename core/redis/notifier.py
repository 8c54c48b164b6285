"""The notifier: a Celery message on Redis that says "there is work on this queue", and nothing more.

It carries no job id. It may be lost, repeated or late without harm: workers also poll the database. It is sent after
the commit, off the event loop, within bounded time, and its failure decides nothing.
(`docs/decisions/0002-messages-only-notify.md`; the workers' side is `worker/generation/app.py`.)
"""

import asyncio
import logging
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

from celery import Celery

from core.redis.connection import celery_options
from core.settings import Settings

log = logging.getLogger(__name__)

TASK = "safelight.generate"
KEY_PREFIX = "safelight:"
STALE_SECONDS = 60
"""A notification that no worker received for so long is dropped; a worker has polled the database meanwhile."""

PAUSE_SECONDS = 0.02
"""Between two notifications of a queue: a notified worker sees all waiting jobs, and a notification costs 1 ms."""

THREADS = 8
"""Queues that an API process notifies at once. While Redis hangs, each notification takes two seconds."""

# Publishing fails within about two seconds even when Redis hangs; Celery's defaults block for more than forty.
PUBLISHER_OPTIONS = {
    "socket_connect_timeout": 1,
    "socket_timeout": 2,
    "max_retries": 0,
    "interval_start": 0,
    "interval_step": 0,
    "interval_max": 0,
    "global_keyprefix": KEY_PREFIX,
}


class Notifier:
    """Notifies queues. Synchronous and safe to share between threads; AsyncNotifier wraps it for an event loop."""

    def __init__(self, settings: Settings) -> None:
        self._celery = Celery("safelight-notifier", set_as_current=False)
        self._celery.conf.update(
            **celery_options(settings, **PUBLISHER_OPTIONS),
            task_serializer="json",
            task_ignore_result=True,
            task_publish_retry=False,
            broker_connection_retry=False,
        )

    def notify(self, queue: str) -> bool:
        """Say that there is work on a queue. Returns whether Redis accepted it; never raises."""
        try:
            self._celery.send_task(TASK, args=[queue], queue=queue, retry=False, expires=STALE_SECONDS)
        except Exception as error:
            log.warning("queue %s not notified: %s", queue, error)
            return False
        return True


class AsyncNotifier:
    """Notifies from an event loop without blocking it.

    Many jobs submitted at once cause two notifications at most: one under way and one more after it.
    """

    def __init__(self, notify: Callable[[str], bool]) -> None:
        self._notify = notify
        self._must_repeat: dict[str, bool] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._threads = ThreadPoolExecutor(THREADS, "notify")

    def notify(self, queue: str) -> None:
        """Say that there is work on a queue; returns at once."""
        if queue in self._must_repeat:
            self._must_repeat[queue] = True
            return
        self._must_repeat[queue] = False
        task = asyncio.create_task(self._deliver(queue))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _deliver(self, queue: str) -> None:
        while True:
            await asyncio.get_running_loop().run_in_executor(self._threads, self._notify, queue)
            await asyncio.sleep(PAUSE_SECONDS)
            if not self._must_repeat[queue]:
                del self._must_repeat[queue]
                return
            self._must_repeat[queue] = False

    async def close(self) -> None:
        """Wait for notifications under way; bounded by the publisher's timeouts."""
        await asyncio.gather(*self._tasks)
        self._threads.shutdown(wait=False)
