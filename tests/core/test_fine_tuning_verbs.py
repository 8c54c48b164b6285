"""The verbs of fine-tuning jobs: each needs the lease, and a final job does not change."""

from datetime import timedelta
from uuid import uuid4

import sqlalchemy as sa

from core import limits, retention
from core.db import Database
from core.fine_tuning import queries, transitions
from core.fine_tuning.rows import FineTuningJobRow
from core.fine_tuning.transitions import NewEvent, NewFineTuningJob, NewModel
from core.reports import storage_use
from core.tables import DEFAULT_PROJECT, fine_tuning_jobs, limit_use, usage_entries

LENGTH = timedelta(seconds=30)
ERROR = {"code": "training_failed", "message": "it failed", "param": None}


def a_job(database: Database, project_id: str = DEFAULT_PROJECT) -> str:
    new = NewFineTuningJob(project_id, "fake", "file-1", 1, {"values": {}, "param": "hyperparameters"})
    return database.execute(transitions.submit(new, 9))[0].id


def a_running_job(database: Database) -> FineTuningJobRow:
    a_job(database)
    lease = uuid4()
    (job,) = database.execute(transitions.claim(lease, "worker", LENGTH))
    assert database.execute(transitions.accept(job.id, lease, images=1, hyperparameters={"steps": 2}, cost=2.0))
    (job,) = database.execute(transitions.claim(uuid4(), "worker", LENGTH))
    assert (job.status, job.attempts) == ("running", 1)
    return job


def a_model(job: FineTuningJobRow, checkpoint_id: str | None = None) -> NewModel:
    return NewModel(f"ft:{checkpoint_id}", 2, {}, f"fine_tuning/{job.id}/{checkpoint_id}", 1, "0" * 64, checkpoint_id)


def test_a_write_without_the_lease_changes_nothing(database: Database) -> None:
    job, other = a_running_job(database), uuid4()
    assert not database.execute(transitions.claim(other, "worker", LENGTH))
    for statement in (
        transitions.record(job.id, other, 1, NewEvent("a")),
        transitions.save(job.id, other, step=1, state_key="a", checkpoint=a_model(job, "b"), event=None),
        transitions.succeed(job.id, other, a_model(job)),
        transitions.fail(job.id, other, ERROR),
    ):
        assert not database.execute(statement)
    assert not database.execute(transitions.renew(job.id, other, LENGTH))
    assert database.execute(queries.get_job(DEFAULT_PROJECT, job.id)) == [job]
    assert not database.execute(queries.list_models(DEFAULT_PROJECT, checkpoints=True))


def test_another_worker_goes_on_after_the_lease_from_the_stored_state(database: Database) -> None:
    job = a_running_job(database)
    assert job.lease is not None
    state = {"step": 1, "state_key": "a", "checkpoint": a_model(job, "b"), "event": NewEvent("a checkpoint")}
    assert database.execute(transitions.save(job.id, job.lease, **state))  # type: ignore[arg-type]  # a mapping
    assert database.execute(transitions.release(job.id, job.lease, timedelta(0)))
    (successor,) = database.execute(transitions.claim(uuid4(), "other", LENGTH))
    assert (successor.id, successor.state_key, successor.state_step) == (job.id, "a", 1)
    assert (successor.attempts, successor.started_at) == (1, job.started_at)
    assert not database.execute(transitions.record(job.id, job.lease, 2))


def test_a_final_job_does_not_change(database: Database) -> None:
    job = a_running_job(database)
    assert job.lease is not None
    (final,) = database.execute(transitions.succeed(job.id, job.lease, a_model(job)))
    assert (final.status, final.fine_tuned_model, final.lease) == ("succeeded", "ft:None", None)
    assert not database.execute(transitions.cancel(DEFAULT_PROJECT, job.id))
    assert not database.execute(transitions.fail(job.id, job.lease, ERROR))
    assert not database.execute(transitions.claim(uuid4(), "worker", LENGTH))
    messages = [event.message for event in database.execute(queries.list_events(job.id, limit=2))]
    assert messages == ["The job has successfully completed", "New fine-tuned model created: ft:None"]


def test_a_project_may_have_so_many_open_jobs(database: Database) -> None:
    new = NewFineTuningJob(DEFAULT_PROJECT, "fake", "file-1", 1, {})
    assert database.execute(transitions.submit(new, 1))
    assert not database.execute(transitions.submit(NewFineTuningJob(DEFAULT_PROJECT, "fake", "file-1", 1, {}), 1))
    assert database.execute(transitions.cancel(DEFAULT_PROJECT, new.id))
    assert database.execute(transitions.submit(NewFineTuningJob(DEFAULT_PROJECT, "fake", "file-1", 1, {}), 1))


def test_a_training_that_begins_anew_makes_its_checkpoints_again(database: Database) -> None:
    job = a_running_job(database)
    assert job.lease is not None
    for key in ("a", "b"):
        model = NewModel("ft:ckpt", 1, {}, key, 1, "0" * 64, f"ftckpt_{key}")
        saved = transitions.save(job.id, job.lease, step=1, state_key=key, checkpoint=model, event=None)
        assert database.execute(saved)
    (row,) = database.execute(queries.list_models(DEFAULT_PROJECT, checkpoints=True))
    assert row.storage_key == "a"


def test_retention_deletes_final_jobs_without_models(database: Database) -> None:
    purge = retention.purge_fine_tuning_jobs(timedelta(0), 9)
    succeeded = a_running_job(database)
    assert not database.execute(purge)
    assert succeeded.lease is not None
    database.execute(transitions.succeed(succeeded.id, succeeded.lease, a_model(succeeded)))
    cancelled = a_job(database)
    database.execute(transitions.cancel(DEFAULT_PROJECT, cancelled))
    a_job(database)
    assert not database.execute(retention.purge_fine_tuning_jobs(timedelta(days=1), 9))
    assert database.execute(purge) == [cancelled]
    assert not database.execute(queries.list_events(cancelled, limit=9))
    database.execute(queries.delete_model(DEFAULT_PROJECT, "ft:None"))
    assert database.execute(purge) == [succeeded.id]


def let_time_pass(database: Database, seconds: float) -> None:
    """Let the worker of the running job have trained for some seconds more."""
    earlier = fine_tuning_jobs.c.counted_until - timedelta(seconds=seconds)
    database.execute(sa.update(fine_tuning_jobs).values(counted_until=earlier))


def end_lease(database: Database) -> None:
    with_lease = sa.update(fine_tuning_jobs).where(fine_tuning_jobs.c.lease.is_not(None))
    database.execute(with_lease.values(lease_expires_at=sa.func.clock_timestamp()))


def test_a_training_uses_the_time_of_its_workers_without_the_gap_between_them(database: Database) -> None:
    job = a_running_job(database)
    assert job.lease is not None
    let_time_pass(database, 100)
    assert database.execute(transitions.renew(job.id, job.lease, LENGTH))
    let_time_pass(database, 20)
    checkpoint = a_model(job, "b")
    database.execute(transitions.save(job.id, job.lease, step=1, state_key="a", checkpoint=checkpoint, event=None))
    let_time_pass(database, 5000)  # dead
    end_lease(database)
    lease = uuid4()
    (resumed,) = database.execute(transitions.claim(lease, "other", LENGTH))
    assert 120 <= resumed.device_seconds < 130
    let_time_pass(database, 10)
    database.execute(transitions.release(job.id, lease, timedelta(0)))
    let_time_pass(database, 5000)  # no worker
    lease = uuid4()
    database.execute(transitions.claim(lease, "other", LENGTH))
    let_time_pass(database, 3)
    (final,) = database.execute(transitions.succeed(job.id, lease, a_model(job)))

    assert 133 <= final.device_seconds < 150
    (entry,) = database.execute(sa.select(usage_entries))
    assert (entry.operation, entry.bytes, entry.device_seconds) == ("fine_tuning", 2, final.device_seconds)


def test_a_cancelled_training_uses_what_its_worker_has_had(database: Database) -> None:
    database.execute(transitions.cancel(DEFAULT_PROJECT, a_job(database)))
    assert not database.execute(sa.select(usage_entries))  # it was not started

    for is_dead, seconds in ((False, 70.0), (True, 0.0)):
        job = a_running_job(database)
        let_time_pass(database, 70)
        if is_dead:
            end_lease(database)
        database.execute(transitions.cancel_jobs(fine_tuning_jobs.c.id == job.id))
        (entry,) = database.execute(sa.delete(usage_entries).returning(usage_entries))
        assert seconds <= entry.device_seconds < seconds + 10


def use_of(database: Database, subject_id: str) -> tuple[float, int]:
    database.execute(sa.delete(limit_use))
    row = {"subject_id": subject_id, "project_id": DEFAULT_PROJECT, "day": sa.text("current_date - 1")}
    database.execute(sa.insert(limit_use).values(row))
    (use,) = database.execute(limits.count_again(subject_id, DEFAULT_PROJECT))
    return use.device_seconds, use.stored_bytes


def use_of_project(database: Database) -> tuple[float, int]:
    return use_of(database, DEFAULT_PROJECT)


def test_limits_count_the_estimate_of_a_training_then_its_use_and_its_models(database: Database) -> None:
    new = NewFineTuningJob(DEFAULT_PROJECT, "fake", "file-1", 1, {}, api_key_id="key_a", cost=50.0)
    database.execute(transitions.submit(new, 9))
    assert use_of(database, "key_a") == (50.0, 0)
    assert use_of(database, "key_b") == (0.0, 0)
    assert use_of_project(database) == (50.0, 0)
    database.execute(transitions.cancel(DEFAULT_PROJECT, new.id))
    assert use_of_project(database) == (0.0, 0)

    job = a_running_job(database)
    assert job.lease is not None
    assert use_of_project(database)[0] == 2.0
    let_time_pass(database, 40)
    database.execute(transitions.record(job.id, job.lease, 1))
    assert use_of_project(database)[0] >= 40.0  # more than its estimate
    (final,) = database.execute(transitions.succeed(job.id, job.lease, a_model(job)))
    assert use_of_project(database) == (final.device_seconds, 1)
    (count,) = database.execute(storage_use.count_chunk("models", "", 9))
    assert (count.project_id, count.number, count.bytes) == (DEFAULT_PROJECT, 1, 1)
    database.execute(queries.delete_model(DEFAULT_PROJECT, "ft:None"))
    assert use_of_project(database) == (final.device_seconds, 0)
