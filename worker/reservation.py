"""Reservations of what workers submit (`core/limits.py`): the jobs of a batch, a training whose steps are known."""

from core import limits
from core.db import Transaction
from core.errors import SafelightError
from core.limits import Amount
from core.settings import Settings


def reserve(
    transaction: Transaction, settings: Settings, project_id: str, key_id: str | None, amount: Amount
) -> SafelightError | None:
    """Reserve an amount in the transaction that uses it. Returns an error if a limit forbids it."""
    rows = transaction.execute(limits.get([project_id, *([] if key_id is None else [key_id])]))
    steps = limits.reservation(limits.subjects_of(rows, settings, project_id, key_id), amount)
    try:
        statement = next(steps)
        while True:
            statement = steps.send(transaction.execute(statement))
    except StopIteration as end:
        error: SafelightError | None = end.value
    return error
