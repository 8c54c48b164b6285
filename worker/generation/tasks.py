"""The Celery task that a notification starts."""

import logging

from core.db import UNAVAILABLE
from core.errors import first_line
from core.redis.notifier import TASK
from worker.generation import microbatch
from worker.generation.app import app, get_context

log = logging.getLogger(__name__)


@app.task(name=TASK, ignore_result=True)
def run_microbatch(queue: str) -> None:
    """Run the micro-batches of a queue."""
    context = get_context()
    try:
        with context.pool_threads.busy():
            microbatch.run_queue(context, queue)
    except UNAVAILABLE as error:
        log.warning("the database is unavailable: %s", first_line(error))
