"""The Celery application: `celery -A worker.generation.app worker -Q local --pool=threads --concurrency=2`.

The settings are explained in docs/decisions/0002-messages-only-notify.md: acknowledge early, keep no results, never let
a message decide anything. A thread beside Celery's own waits for wake-ups, so that an idle worker begins sooner than
by a message. Another one polls the database every `poll`, so that a worker whose consumer receives nothing after a
reconnect (celery#8030 and its successors) still works.
"""

import logging
import signal
import threading
from typing import Any

from celery import Celery, signals

from core.db import UNAVAILABLE
from core.errors import first_line
from core.permissions import make_private
from core.redis.connection import KEY_PREFIX, celery_options
from core.settings.environment import log_unknown, read_or_exit
from core.telemetry import logs, metrics, tracing
from worker.generation import microbatch
from worker.generation.content_credentials import ContentCredentials, ContentCredentialsError
from worker.generation.context import Context, worker_name
from worker.generation.presence import Presence
from worker.generation.wakeup_thread import WakeupThread
from worker.moderation.moderator import Moderator

log = logging.getLogger(__name__)

settings = read_or_exit()
moderator = Moderator.open(settings)
"""Opened at import: a word list or a hook that cannot be used ends the worker at its start."""

try:
    content_credentials = ContentCredentials.open(settings)
except ContentCredentialsError as error:  # images that should be signed are not generated without it
    raise SystemExit(f"safelight: {error}") from error

TRANSPORT = {
    "global_keyprefix": KEY_PREFIX,
    "visibility_timeout": 86_400,
    "socket_keepalive": True,
    "health_check_interval": 25,
}

app = Celery("safelight", include=["worker.generation.tasks"])
app.conf.update(
    **celery_options(settings, **TRANSPORT),
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
)

context: Context | None = None
"""Made when the worker starts; importing this module connects to nothing."""


poller: threading.Thread | None = None
"""Polls the database, once the worker is ready."""

presence: Presence | None = None
"""Tells the others about this worker, once it is ready."""


def get_context() -> Context:
    """The context of this worker."""
    global context
    if context is None:
        context = Context.open(settings, moderator, content_credentials)
    return context


@signals.celeryd_init.connect
def _set_up_process(instance: Any, **_: Any) -> None:
    """Before Celery's first line. It prints its banner as text, whatever the format of the log."""
    make_private(settings.data_dir)
    logs.install(settings, worker=worker_name())
    log_unknown()
    tracing.install("safelight-worker")
    instance.quiet = instance.quiet or settings.log_format == "json"


@signals.setup_logging.connect
def _leave_logging(**_: Any) -> None:
    """That something is connected to this signal keeps Celery from setting up its own format."""


@signals.worker_ready.connect
def _start_poller(sender: Any, **_: Any) -> None:
    global poller, presence
    metrics.serve(settings.metrics_host, settings.metrics_port)
    queues = list(sender.app.amqp.queues.consume_from)
    poller = threading.Thread(target=poll_database, args=(get_context(), queues), name="poller", daemon=True)
    poller.start()

    wakeup_thread = WakeupThread(get_context(), queues, sender.pool.apply_async, sender.pool.limit)
    wakeup_thread.start()

    def select_queues(is_selected: bool) -> None:
        wakeup_thread.is_selected = is_selected
        change = sender.add_task_queue if is_selected else sender.cancel_task_queue
        for queue in queues:
            sender.call_soon(change, queue)

    # Celery would restart the worker, in the middle of its jobs.
    signal.signal(signal.SIGHUP, lambda *_: get_context().catalog_file.expire())
    presence = Presence(get_context(), queues, select_queues)
    presence.start()
    log.info("worker %s serves %s", get_context().name, ", ".join(queues))


@signals.worker_shutting_down.connect
def _drain(**_: Any) -> None:
    get_context().drain.begin(settings.drain_timeout.total_seconds())


@signals.worker_shutdown.connect
def _join_poller(sender: Any, **_: Any) -> None:
    """Wait for the poller's micro-batch, as Celery waits for those of its own threads. Set the exit code."""
    if poller is not None:
        poller.join()
    if presence is not None:
        presence.join()
    if context is not None and context.exit_code:
        sender.exitcode = context.exit_code


def poll_database(context: Context, queues: list[str]) -> None:
    """Generate what waits in the database, every `poll`, with or without a notification."""
    while not context.drain.wait(context.settings.poll.total_seconds()):
        for queue in queues:
            try:
                if not context.device.locked():
                    microbatch.run_queue(context, queue)
            except UNAVAILABLE as error:
                log.warning("the database is unavailable: %s", first_line(error))
            except Exception:  # whatever it was, polling must go on
                log.exception("polling queue %s failed", queue)
