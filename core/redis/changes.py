"""Listens for changes of jobs and batches over Redis, so that webhooks and new batches need not wait for a poll.

A message says only that something has changed. It may be lost: whoever listens also polls the database.
"""

import logging
import threading
from collections.abc import Callable
from contextlib import closing

from redis import Redis
from redis.exceptions import RedisError

from core.redis.connection import connect
from core.redis.progress import CHANGES_CHANNEL
from core.settings import Settings

log = logging.getLogger(__name__)

RETRY_SECONDS = 1.0
"""Between two attempts to subscribe."""

CHECK_SECONDS = 15.0
"""At this interval a silent connection is tested."""


class ChangeListener:
    """Calls a function at each message of a channel, in a thread of its own, from `start` to `close`.

    on_change: must not block. Without SAFELIGHT_REDIS_URL it is never called.
    """

    def __init__(self, settings: Settings, on_change: Callable[[], None], channel: str = CHANGES_CHANNEL) -> None:
        self._channel = channel
        self._redis = None if settings.redis_url is None else connect(settings)
        self._on_change = on_change
        self._thread = threading.Thread(target=self._run, name="changes", daemon=True)
        self._closing = threading.Event()
        self._wake: Callable[[], object] = lambda: None
        self.is_listening = False
        """Whether it would be notified of a change now."""

    def start(self) -> None:
        """Begin to listen."""
        self._thread.start()

    def close(self) -> None:
        """Stop listening."""
        self._closing.set()
        try:
            self._wake()
        except (RedisError, OSError):
            log.debug("the subscription was lost")
        self._thread.join()
        if self._redis is not None:
            self._redis.close()

    def _run(self) -> None:
        while self._redis is not None and not self._closing.is_set():
            try:
                self._listen(self._redis)
            except (RedisError, OSError) as error:
                log.warning("redis does not answer, changes wait for the next poll: %s", error)
                self._closing.wait(RETRY_SECONDS)
            finally:
                self.is_listening = False

    def _listen(self, redis: Redis) -> None:
        with closing(redis.pubsub()) as subscription:  # type: ignore[no-untyped-call]  # redis-py's
            subscription.subscribe(self._channel)
            self._wake = subscription.unsubscribe  # its confirmation ends the wait below
            is_tested = False
            while not self._closing.is_set():
                message = subscription.get_message(timeout=CHECK_SECONDS)
                if message is None:
                    if is_tested:
                        raise TimeoutError("the subscription is silent")
                    subscription.ping()
                is_tested = message is None
                if message is not None and message["type"] in ("subscribe", "message"):
                    # Also at first: changes may have been lost before.
                    self.is_listening = True
                    self._on_change()
