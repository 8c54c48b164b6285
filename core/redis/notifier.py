"""The notifier: a Celery message on Redis that says "there is work on this queue", and nothing more.

It carries no job id. It may be lost, repeated or late without harm: workers also poll the database. It is sent after
the commit, off the event loop, within bounded time, and its failure decides nothing. A worker that is idle is woken
sooner, by `core.redis.wakeups`; therefore messages are sent seldom.
(`docs/decisions/0002-messages-only-notify.md`, `0027-idle-workers-are-woken.md`; the workers' side is
`worker/generation/app.py`.)
"""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress

from celery import Celery

from core.redis.connection import KEY_PREFIX, celery_options
from core.redis.wakeups import AsyncWakeups, Wakeups
from core.settings import Settings

log = logging.getLogger(__name__)

TASK = "safelight.generate"
STALE_SECONDS = 60
"""A notification that no worker received for so long is dropped; a worker has polled the database meanwhile."""

WAKEUP_PAUSE_SECONDS = 0.02
"""Between two wake-ups of a queue: a worker that is awake sees all waiting jobs."""

MESSAGE_PAUSE_SECONDS = 0.25
"""Between two messages to a queue: a message costs each side a millisecond of its processor."""

THREADS = 8
"""Queues to which an API process sends messages at once. While Redis hangs, each message takes two seconds."""

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
    """Notifies queues. Synchronous and safe to share between threads; AsyncNotifier is for an event loop."""

    def __init__(self, settings: Settings) -> None:
        self._celery = Celery("safelight-notifier", set_as_current=False)
        self._celery.conf.update(
            **celery_options(settings, **PUBLISHER_OPTIONS),
            task_serializer="json",
            task_ignore_result=True,
            task_publish_retry=False,
            broker_connection_retry=False,
        )
        self._wakeups = Wakeups(settings)
        self._sent_at: dict[str, float] = {}

    def notify(self, queue: str) -> bool:
        """Say that there is work on a queue. Returns whether Redis accepted it; never raises.

        No message is sent to a queue that got one a moment ago.
        """
        if not self._wakeups.send(queue):
            return False
        now = time.monotonic()
        if now - self._sent_at.get(queue, -MESSAGE_PAUSE_SECONDS) < MESSAGE_PAUSE_SECONDS:
            return True
        self._sent_at[queue] = now  # before it is sent, so that threads that notify at once send one
        is_sent = self.send_message(queue)
        if not is_sent:
            self._sent_at.pop(queue, None)  # the next notification must not rely on this one
        return is_sent

    def send_message(self, queue: str) -> bool:
        """Send a Celery message to a queue. Returns whether Redis accepted it; never raises."""
        try:
            self._celery.send_task(TASK, args=[queue], queue=queue, retry=False, expires=STALE_SECONDS)
        except Exception as error:
            log.warning("queue %s not notified: %s", queue, error)
            return False
        return True


class AsyncNotifier:
    """Notifies from an event loop without blocking it."""

    def __init__(self, settings: Settings) -> None:
        self._notifier = Notifier(settings)
        self._async_wakeups = AsyncWakeups(settings)
        self._threads = ThreadPoolExecutor(THREADS, "notify")
        self._wakeups = _Sender(self._async_wakeups.send, WAKEUP_PAUSE_SECONDS)
        self._messages = _Sender(self._send_message, MESSAGE_PAUSE_SECONDS)

    def notify(self, queue: str) -> None:
        """Say that there is work on a queue; returns at once."""
        self._wakeups.request(queue)
        self._messages.request(queue)

    async def _send_message(self, queue: str) -> None:
        await asyncio.get_running_loop().run_in_executor(self._threads, self._notifier.send_message, queue)

    async def close(self) -> None:
        """Wait for notifications under way; bounded by the publisher's timeouts."""
        await asyncio.gather(self._wakeups.close(), self._messages.close())
        self._threads.shutdown(wait=False)
        await self._async_wakeups.close()


class _Sender:
    """Sends something to queues, to each at most once in `pause` seconds.

    Many jobs submitted at once cause two at most: the one under way and one more after it.
    """

    def __init__(self, send: Callable[[str], Awaitable[None]], pause: float) -> None:
        self._send = send
        self._pause = pause
        self._must_repeat: dict[str, bool] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._closing = asyncio.Event()

    def request(self, queue: str) -> None:
        """Send to a queue now, or after the pause."""
        if queue in self._must_repeat:
            self._must_repeat[queue] = True
            return
        self._must_repeat[queue] = False
        task = asyncio.create_task(self._deliver(queue))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _deliver(self, queue: str) -> None:
        while True:
            await self._send(queue)
            with suppress(TimeoutError):
                await asyncio.wait_for(self._closing.wait(), self._pause)
            if not self._must_repeat[queue]:
                del self._must_repeat[queue]
                return
            self._must_repeat[queue] = False

    async def close(self) -> None:
        """Wait for what is being sent."""
        self._closing.set()
        await asyncio.gather(*self._tasks)
