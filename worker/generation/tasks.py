"""What a ring of the notifier starts."""

import logging

from core.db import UNAVAILABLE
from core.errors import first_line
from core.redis.notifier import TASK
from worker.generation import microbatch
from worker.generation.app import app, parts

log = logging.getLogger(__name__)


@app.task(name=TASK, ignore_result=True)
def execute_locally(queue: str) -> None:
    """Develop one micro-batch of a queue; `generate.run` rings again while there is more."""
    try:
        microbatch.run(parts(), queue)
    except UNAVAILABLE as error:
        log.warning("the database is away: %s", first_line(error))
