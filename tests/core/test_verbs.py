"""Every verb against every status: only the documented transitions exist, and each writes its event."""

from collections.abc import Callable
from datetime import timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest
import sqlalchemy as sa

from core import jobs, leases, provider_calls, retention, submits
from core.db import Database, Statement
from core.erasures import contents
from core.generation_errors import GeneratorFailed, OutOfMemory
from core.images.postprocess import Postprocess
from core.job_warnings import JobWarning
from core.parameters.job import ResolvedParameters
from core.status import JOB_TRANSITIONS, JobStatus
from core.tables import DEFAULT_PROJECT, images, job_events
from core.tables import jobs as table
from tests.factories import LEASE, LONG, a_job, an_image, claim, event_types, in_state, job_row

VERBS: dict[str, Callable[[str, UUID], Statement[Any]]] = {
    "claim": lambda _job_id, _lease: claim(uuid4()),
    "complete": lambda job_id, lease: jobs.complete(job_id, lease, [an_image(job_id)]),
    "fail": lambda job_id, lease: jobs.fail(job_id, lease, OutOfMemory()),
    "requeue": lambda job_id, lease: jobs.requeue(job_id, lease, "worker_draining"),
    "reclaim": lambda _job_id, _lease: jobs.reclaim(3, 100),
    "cancel": lambda job_id, _lease: jobs.cancel(DEFAULT_PROJECT, job_id),
    "acknowledge_cancel": lambda job_id, lease: jobs.acknowledge_cancel(job_id, lease),
    "expire": lambda _job_id, _lease: jobs.expire(100),
    "purge": lambda job_id, _lease: retention.purge_jobs([job_id]),
}

MOVES = {
    ("claim", JobStatus.QUEUED): JobStatus.IN_PROGRESS,
    ("complete", JobStatus.IN_PROGRESS): JobStatus.COMPLETED,
    ("fail", JobStatus.IN_PROGRESS): JobStatus.FAILED,
    ("requeue", JobStatus.IN_PROGRESS): JobStatus.QUEUED,
    ("cancel", JobStatus.QUEUED): JobStatus.CANCELLED,
    ("cancel", JobStatus.IN_PROGRESS): JobStatus.IN_PROGRESS,  # a wish, not a status
}
"""What each verb does when nothing is overdue; every pair that is not here moves nothing."""


@pytest.mark.parametrize("status", JobStatus)
@pytest.mark.parametrize("verb", VERBS)
def test_a_verb_moves_only_along_its_arrow(database: Database, verb: str, status: JobStatus) -> None:
    job_id, lease = in_state(database, status)
    before, types = job_row(database, job_id), event_types(database, job_id)

    rows = database.execute(VERBS[verb](job_id, lease))

    if verb == "purge" and status.is_final:
        assert rows == [job_id]
        assert not database.execute(sa.select(table))
    elif (verb, status) in MOVES:
        after = job_row(database, job_id)
        assert [result.id for result in rows] == [job_id]
        assert after.status == MOVES[verb, status]
        assert after.status == status or after.status in JOB_TRANSITIONS[status]
        assert after.version == before.version + 1
        assert len(event_types(database, job_id)) == len(types) + 1
    else:
        assert not rows
        assert job_row(database, job_id) == before
        assert event_types(database, job_id) == types


@pytest.mark.parametrize("verb", ["complete", "fail", "requeue", "acknowledge_cancel"])
def test_a_worker_with_another_lease_moves_nothing(database: Database, verb: str) -> None:
    job_id, _lease = in_state(database, JobStatus.IN_PROGRESS)
    database.execute(jobs.cancel(DEFAULT_PROJECT, job_id))
    before = job_row(database, job_id)

    assert not database.execute(VERBS[verb](job_id, uuid4()))
    assert job_row(database, job_id) == before
    assert not database.execute(sa.select(images))


def delete(database: Database, project_id: str, job_id: str) -> int:
    (counts,) = database.execute(contents.delete_jobs(project_id, [job_id]))
    return counts.jobs


@pytest.mark.parametrize("status", JobStatus)
def test_only_a_final_job_can_be_deleted(database: Database, status: JobStatus) -> None:
    job_id, _ = in_state(database, status)

    assert delete(database, DEFAULT_PROJECT, job_id) == int(status.is_final)
    assert len(database.execute(sa.select(table))) == int(not status.is_final)


def test_another_project_cannot_cancel_or_delete(database: Database) -> None:
    queued_job, _ = in_state(database, JobStatus.QUEUED)
    final_job, _ = in_state(database, JobStatus.EXPIRED)

    assert not database.execute(jobs.cancel("proj_other", queued_job))
    assert delete(database, "proj_other", final_job) == 0
    assert job_row(database, final_job)


def test_a_lost_lease_gives_the_job_back_and_the_third_is_poison(database: Database) -> None:
    job_id, _ = in_state(database, JobStatus.QUEUED)
    statuses = []
    for _ in range(3):
        database.execute(leases.claim("local", uuid4(), "w", length=timedelta(0), attempt_timeout=LONG))
        (moved,) = database.execute(jobs.reclaim(3, 100))
        statuses.append(moved.status)

    assert statuses == ["queued", "queued", "failed"]
    final = job_row(database, job_id)
    assert (final.error_code, final.crashes, final.attempts, final.failures) == ("poison_job", 3, 3, 0)
    assert event_types(database, job_id)[-1] == "job.failed"


def test_a_worker_has_a_lease_longer_to_record_that_an_attempt_took_too_long(database: Database) -> None:
    job_id, _ = in_state(database, JobStatus.QUEUED)
    lease = uuid4()
    database.execute(leases.claim("local", lease, "w", length=LEASE, attempt_timeout=timedelta(0)))

    assert [row.id for row in database.execute(leases.renew(lease, LEASE))] == [job_id]
    assert [row.id for row in database.execute(leases.renew(lease, LEASE))] == [job_id]
    assert not database.execute(jobs.reclaim(3, 100))
    row = job_row(database, job_id)
    assert row.started_at is not None
    assert row.attempt_deadline is not None
    # The claim reads the clock once for each column.
    assert abs(row.attempt_deadline - row.started_at - LEASE) < timedelta(seconds=1)


@pytest.mark.parametrize("is_of_a_provider", [False, True])
def test_an_attempt_whose_lease_was_renewed_to_its_deadline_took_too_long(
    database: Database, is_of_a_provider: bool
) -> None:
    in_state(database, JobStatus.QUEUED)
    lease = uuid4()
    (job,) = database.execute(claim(lease))
    if is_of_a_provider:
        database.execute(provider_calls.open_call("call_a", job, lease, b"a request"))
    database.execute(sa.update(table).values(lease_expires_at=sa.func.now(), attempt_deadline=sa.func.now()))

    (moved,) = database.execute(jobs.reclaim(1 + is_of_a_provider, 100))

    result = (moved.status, moved.error_code, moved.crashes, moved.failures)
    assert result == (("queued", None, 1, 0) if is_of_a_provider else ("failed", "attempt_timeout", 0, 1))


def test_errors_count_until_no_attempt_is_left_and_the_wait_doubles(database: Database) -> None:
    job_id, _ = in_state(database, JobStatus.QUEUED)
    waits = []
    for _ in range(3):
        lease = uuid4()
        database.execute(sa.update(table).values(not_before=sa.func.now()))
        database.execute(claim(lease))
        database.execute(
            jobs.requeue(job_id, lease, "generator_failed", error=GeneratorFailed(), delay=timedelta(seconds=60))
        )
        requeued_at = sa.select(sa.func.max(job_events.c.created_at)).scalar_subquery()
        waits.append(database.execute(sa.select(table.c.not_before - requeued_at))[0][0].total_seconds())

    assert waits[:2] == pytest.approx([60, 120], rel=0.05)
    final = job_row(database, job_id)
    assert (final.status, final.error_code, final.failures) == ("failed", "generator_failed", 3)


@pytest.mark.parametrize("end", ["fail", "requeue", "reclaim"])
def test_a_wish_to_cancel_wins_over_failure_and_retry(database: Database, end: str) -> None:
    job_id, lease = in_state(database, JobStatus.IN_PROGRESS)
    database.execute(jobs.cancel(DEFAULT_PROJECT, job_id))
    if end == "reclaim":
        database.execute(sa.update(table).values(lease_expires_at=sa.func.now()))

    database.execute(VERBS[end](job_id, lease))

    assert (job_row(database, job_id).status, job_row(database, job_id).error_code) == ("cancelled", None)
    assert event_types(database, job_id)[-2:] == ["job.cancel_requested", "job.cancelled"]


def test_a_wish_to_cancel_never_undoes_a_success(database: Database) -> None:
    job_id, lease = in_state(database, JobStatus.IN_PROGRESS)
    database.execute(jobs.cancel(DEFAULT_PROJECT, job_id))

    database.execute(jobs.complete(job_id, lease, [an_image(job_id)]))

    assert job_row(database, job_id).status == "completed"


def test_a_lease_that_ran_out_is_not_renewed_even_if_nobody_took_the_job(database: Database) -> None:
    job_id, lease = in_state(database, JobStatus.IN_PROGRESS)
    assert [row.id for row in database.execute(leases.renew(lease, LEASE))] == [job_id]

    database.execute(sa.update(table).values(lease_expires_at=sa.func.now()))

    assert not database.execute(leases.renew(lease, LEASE))


def test_no_renewal_reaches_beyond_the_attempts_deadline(database: Database) -> None:
    job_id, lease = in_state(database, JobStatus.IN_PROGRESS)

    database.execute(leases.renew(lease, timedelta(days=1)))

    assert job_row(database, job_id).lease_expires_at == job_row(database, job_id).attempt_deadline


def test_completing_records_the_images_in_the_same_statement(database: Database) -> None:
    job_id, lease = in_state(database, JobStatus.IN_PROGRESS)
    pixel_images = [an_image(job_id, index) for index in range(3)]

    database.execute(jobs.complete(job_id, lease, pixel_images))

    rows = database.execute(sa.select(images).order_by(images.c.index))
    assert [(image.storage_key, image.seed, image.receipt) for image in rows] == [
        (pixels["storage_key"], pixels["seed"], pixels["receipt"]) for pixels in pixel_images
    ]


def test_a_job_comes_back_as_it_was_submitted_and_with_what_it_was_warned_of(database: Database) -> None:
    fields: dict[str, Any] = {
        "operation": "edit",
        "inputs": {"image": "file-a", "mask": "file-b"},
        "metadata": {"a": "b"},
    }
    parameters: dict[str, Any] = {"strength": 0.4, "postprocess": Postprocess(upscale=2), "partial_images": 2}
    job, lease = a_job(**fields, **parameters), uuid4()
    warning = JobWarning(code="prompt_truncated", message="The end is not read.", param="prompt")
    database.execute(submits.submit(job, a_job()))
    database.execute(claim(lease))

    database.execute(jobs.complete(job.id, lease, [an_image(job.id)], [warning]))

    row = job_row(database, job.id)
    assert {name: getattr(row, name) for name in fields} == fields
    assert ResolvedParameters.load(row.parameters) == job.parameters
    assert row.warnings == [warning]
