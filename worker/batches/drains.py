"""Refuses the batches of files that were submitted while an operator drains a queue of theirs."""

from collections.abc import Collection

from core import pauses
from core.batches.line_errors import line_error
from core.batches.transitions import LineError
from core.db import Database
from core.errors import QueueDraining
from core.rows.batch import BatchRow
from core.text import quote


def drain_errors(database: Database, batch: BatchRow, queues: Collection[str]) -> list[LineError]:
    """Why a batch gets no jobs: the queues of its lines that had begun to drain before it was submitted.

    Older batches are worked off. So are retries of batches, as a batch can be retried only once: the API refuses them.
    """
    if batch.retried_from is not None:
        return []
    names = sorted(
        row.name
        for row in database.execute(pauses.list_pauses())
        if (row.kind, row.state) == ("queue", "draining") and row.name in queues and row.created_at <= batch.created_at
    )
    if not names:
        return []
    text = ", ".join(quote(name) for name in names)
    return [line_error(None, QueueDraining(f"An operator drains the queue {text}, which accepts no jobs."))]
