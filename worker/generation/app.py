"""The Celery application: `celery -A worker.generation.app worker -Q local --pool=threads --concurrency=2`.

Settings follow what Celery and Redis were found to do (docs/decisions/0002): acknowledge early, keep no results, never
let a message decide anything. A thread beside Celery's own looks at the database every `poll`, so that a consumer that
went deaf after a reconnect (celery#8030 and its successors) still works.
"""

import logging
import threading
from typing import Any

from celery import Celery, signals

from core.db import UNAVAILABLE
from core.errors import first_line
from core.redis.notifier import KEY_PREFIX
from core.settings import Settings
from worker.generation import microbatch
from worker.generation.context import Context

log = logging.getLogger(__name__)

settings = Settings()

app = Celery("safelight", broker=settings.redis_url, include=["worker.generation.tasks"])
app.conf.update(
    task_acks_late=False,  # with late acks every job longer than the visibility timeout would run again, in parallel
    task_reject_on_worker_lost=False,
    task_ignore_result=True,
    task_create_missing_queues=True,
    task_serializer="json",
    accept_content=["json"],
    worker_prefetch_multiplier=1,
    # worker_disable_prefetch stays off: with it a freed thread waits up to a second (docs/05-performance.md)
    worker_send_task_events=False,
    worker_hijack_root_logger=False,
    worker_cancel_long_running_tasks_on_connection_loss=False,  # the lease decides, not Redis
    worker_soft_shutdown_timeout=0,  # SIGTERM is warm; our own drain decides when to give back
    broker_connection_retry_on_startup=True,
    broker_connection_max_retries=None,
    broker_channel_error_retry=True,
    broker_transport_options={
        "global_keyprefix": KEY_PREFIX,
        "visibility_timeout": 86_400,
        "socket_keepalive": True,
        "health_check_interval": 25,
    },
)

context: Context | None = None
"""Made when the worker starts; importing this module connects to nothing."""


lookout: threading.Thread | None = None
"""Looks at the database unasked, once the worker is ready."""


def parts() -> Context:
    """The parts of this worker."""
    global context
    if context is None:
        context = Context.open(settings)
    return context


@signals.setup_logging.connect
def _set_up_logging(**_: Any) -> None:
    logging.basicConfig(level=settings.log_level.upper(), format="%(asctime)s %(levelname)s %(name)s: %(message)s")


@signals.worker_ready.connect
def _look_unasked(sender: Any, **_: Any) -> None:
    global lookout
    queues = list(sender.app.amqp.queues.consume_from)
    lookout = threading.Thread(target=look_unasked, args=(parts(), queues), name="lookout", daemon=True)
    lookout.start()
    log.info("worker %s serves %s", parts().name, ", ".join(queues))


@signals.worker_shutting_down.connect
def _drain(**_: Any) -> None:
    parts().drain.begin(settings.drain_timeout.total_seconds())


@signals.worker_shutdown.connect
def _finish_unasked(**_: Any) -> None:
    """Wait for what the lookout has in hand, as Celery waits for what its own threads have."""
    if lookout is not None:
        lookout.join()


def look_unasked(context: Context, queues: list[str]) -> None:
    """Develop whatever waits in the database, every `poll`, whether anybody rang or not."""
    while not context.drain.wait(context.settings.poll.total_seconds()):
        for queue in queues:
            try:
                while not context.device.locked() and microbatch.run(context, queue):
                    pass
            except UNAVAILABLE as error:
                log.warning("the database is away: %s", first_line(error))
            except Exception:  # whatever it was, a worker that no longer looks would be deaf without a sign
                log.exception("developing queue %s failed", queue)
