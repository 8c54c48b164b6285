"""Every verb of a batch against every status: only the transitions of the chart exist, each with its event."""

from collections.abc import Callable
from datetime import timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest
import sqlalchemy as sa

from core import retention
from core.batches import transitions as batches
from core.batches.transitions import LineError, NewBatch
from core.db import Database, Statement
from core.status import BATCH_TRANSITIONS, BatchStatus
from core.tables import DEFAULT_PROJECT, batch_events
from core.tables import batches as table

HOUR = timedelta(hours=1)
ERROR = LineError(line=1, code="invalid_value", param="size", message="size is invalid.")


def submitted(database: Database, window: timedelta = HOUR, total: int = 0) -> str:
    new = NewBatch(DEFAULT_PROJECT, "/v1/images/generations", window, total=total)
    (row,) = database.execute(batches.submit(new, max_open=1))
    return row.id


def accept(batch_id: str, lease: UUID) -> Statement[Any]:
    return batches.accept(batch_id, lease, total=1, model="fake", cost=1.0)


def refuse(batch_id: str, lease: UUID) -> Statement[Any]:
    return batches.refuse(batch_id, lease, [ERROR])


def fail(batch_id: str, lease: UUID) -> Statement[Any]:
    return batches.fail(batch_id, lease, ERROR, {"completed": 1})


def cancel(batch_id: str, _lease: UUID) -> Statement[Any]:
    return batches.cancel(DEFAULT_PROJECT, batch_id)


def claim(_batch_id: str, lease: UUID) -> Statement[Any]:
    return batches.claim(lease, HOUR)


def finalize(_batch_id: str, _lease: UUID) -> Statement[Any]:
    return batches.finalize()


def complete(batch_id: str, lease: UUID, status: str = "completed") -> Statement[Any]:
    return batches.complete(batch_id, lease, {status: 1}, output_file_id=None, error_file_id=None)


def expire(batch_id: str, lease: UUID) -> Statement[Any]:
    return complete(batch_id, lease, "expired")


Verb = Callable[[str, UUID], Statement[Any]]

PATHS: dict[BatchStatus, list[Verb]] = {
    BatchStatus.VALIDATING: [claim],
    BatchStatus.FAILED: [claim, refuse],
    BatchStatus.IN_PROGRESS: [claim, accept],
    BatchStatus.CANCELLING: [claim, accept, cancel],
    BatchStatus.FINALIZING: [claim, accept, finalize, claim],
    BatchStatus.COMPLETED: [claim, accept, finalize, claim, complete],
    BatchStatus.EXPIRED: [claim, accept, finalize, claim, expire],
    BatchStatus.CANCELLED: [cancel],
}
"""The verbs that bring a submitted batch to each status."""

VERBS: dict[str, Verb] = {
    "claim": lambda batch_id, _lease: claim(batch_id, uuid4()),
    "accept": accept,
    "refuse": refuse,
    "fail": fail,
    "cancel": cancel,
    "finalize": finalize,
    "complete": complete,
    "purge_batches": lambda _batch_id, _lease: retention.purge_batches(timedelta(0), 9),
}

TRANSITIONS = {
    ("accept", BatchStatus.VALIDATING): BatchStatus.IN_PROGRESS,
    ("refuse", BatchStatus.VALIDATING): BatchStatus.FAILED,
    ("fail", BatchStatus.VALIDATING): BatchStatus.FAILED,
    ("fail", BatchStatus.FINALIZING): BatchStatus.FAILED,
    ("cancel", BatchStatus.VALIDATING): BatchStatus.CANCELLED,
    ("cancel", BatchStatus.IN_PROGRESS): BatchStatus.CANCELLING,
    ("finalize", BatchStatus.IN_PROGRESS): BatchStatus.FINALIZING,
    ("finalize", BatchStatus.CANCELLING): BatchStatus.FINALIZING,
    ("complete", BatchStatus.FINALIZING): BatchStatus.COMPLETED,
}
"""The new status by verb and status; every other pair changes nothing."""

ENDS = {
    BatchStatus.COMPLETED: [claim, accept, finalize, claim, complete],
    BatchStatus.EXPIRED: [claim, accept, finalize, claim, expire],
    BatchStatus.CANCELLED: [claim, accept, cancel, finalize, claim, complete],
}
"""What `complete` makes of a batch."""


def brought(database: Database, path: list[Verb], window: timedelta = HOUR) -> tuple[str, UUID]:
    """A batch after verbs, and the lease that they had."""
    batch_id, lease = submitted(database, window), uuid4()
    for verb in path:
        assert database.execute(verb(batch_id, lease))
    return batch_id, lease


def in_state(database: Database, status: BatchStatus) -> tuple[str, UUID]:
    window = timedelta(microseconds=1) if status is BatchStatus.EXPIRED else HOUR
    batch_id, lease = brought(database, PATHS[status], window)
    assert row(database, batch_id).status == status
    return batch_id, lease


def row(database: Database, batch_id: str) -> sa.Row[Any]:
    return database.execute(sa.select(table).where(table.c.id == batch_id))[0]


def event_types(database: Database, batch_id: str) -> list[str]:
    events = sa.select(batch_events.c.type).where(batch_events.c.batch_id == batch_id).order_by(batch_events.c.seq)
    return [event.type for event in database.execute(events)]


@pytest.mark.parametrize("status", BatchStatus)
@pytest.mark.parametrize("verb", VERBS)
def test_a_verb_follows_only_the_transitions(database: Database, verb: str, status: BatchStatus) -> None:
    batch_id, lease = in_state(database, status)
    before, events = row(database, batch_id), event_types(database, batch_id)

    updated = database.execute(VERBS[verb](batch_id, lease))

    if verb == "purge_batches" and status.is_final:
        assert updated == [batch_id]
        assert not database.execute(sa.select(table))
    elif (verb, status) in TRANSITIONS:
        after = row(database, batch_id)
        assert [batch.id for batch in updated] == [batch_id]
        assert after.status == TRANSITIONS[verb, status]
        assert after.status in BATCH_TRANSITIONS[status]
        assert (after.version, after.lease) == (before.version + 1, None)
        assert event_types(database, batch_id) == [*events, f"batch.{after.status}"]
    else:
        assert not updated
        assert row(database, batch_id) == before
        assert event_types(database, batch_id) == events


@pytest.mark.parametrize("status", ENDS)
def test_how_a_batch_ends(database: Database, status: BatchStatus) -> None:
    window = timedelta(microseconds=1) if status is BatchStatus.EXPIRED else HOUR

    batch_id, _ = brought(database, ENDS[status], window)

    assert row(database, batch_id).status == status
    assert event_types(database, batch_id)[-1] == f"batch.{status}"


def test_the_tests_cover_every_transition() -> None:
    covered = {(status, follower) for (_verb, status), follower in TRANSITIONS.items()}
    covered |= {(BatchStatus.FINALIZING, status) for status in ENDS}

    assert covered == {(status, follower) for status in BatchStatus for follower in BATCH_TRANSITIONS[status]}


def test_a_batch_with_its_jobs_begins_in_progress(database: Database) -> None:
    batch_id = submitted(database, total=1)

    assert row(database, batch_id).status == BatchStatus.IN_PROGRESS
    assert event_types(database, batch_id) == ["batch.in_progress"]


@pytest.mark.parametrize(
    ("verb", "status"),
    [
        ("accept", BatchStatus.VALIDATING),
        ("refuse", BatchStatus.VALIDATING),
        ("fail", BatchStatus.VALIDATING),
        ("complete", BatchStatus.FINALIZING),
    ],
)
def test_a_processor_with_another_lease_changes_nothing(database: Database, verb: str, status: BatchStatus) -> None:
    batch_id, _lease = in_state(database, status)
    before = row(database, batch_id)

    assert not database.execute(VERBS[verb](batch_id, uuid4()))
    assert row(database, batch_id) == before


def test_a_claim_counts_as_an_attempt_until_the_status_changes(database: Database) -> None:
    batch_id, lease = brought(database, [claim])
    first = row(database, batch_id).attempts
    database.execute(batches.release(batch_id, lease, timedelta(0)))
    released = row(database, batch_id).attempts
    database.execute(batches.claim(lease, timedelta(0)))
    database.execute(batches.claim(lease, timedelta(0)))
    again = row(database, batch_id).attempts
    database.execute(accept(batch_id, lease))

    assert (first, released, again, row(database, batch_id).attempts) == (1, 0, 2, 0)


def test_a_batch_with_fewer_attempts_is_claimed_first(database: Database) -> None:
    new = (NewBatch(DEFAULT_PROJECT, "/v1/images/generations", HOUR) for _ in range(2))
    older, newer = (database.execute(batches.submit(batch, max_open=9))[0].id for batch in new)

    claimed = [database.execute(batches.claim(uuid4(), timedelta(0)))[0].id for _ in range(4)]

    assert claimed == [older, newer, older, newer]


def test_another_project_cannot_cancel(database: Database) -> None:
    batch_id, _ = in_state(database, BatchStatus.IN_PROGRESS)

    assert not database.execute(batches.cancel("proj_other", batch_id))
