"""A worker reserves its next micro-batch: the jobs stay queued, and nothing is lost if it never begins them."""

import threading
from collections.abc import Iterator, Sequence
from datetime import timedelta
from pathlib import Path
from uuid import UUID, uuid4

import pytest
import sqlalchemy as sa

from core import jobs, pauses, reservations
from core.db import Database, Statement
from core.fairness import FAIR_TURN
from core.generation_errors import InputUnavailable
from core.rows.job import JobRow
from core.tables import DEFAULT_PROJECT
from core.tables import jobs as table
from tests.factories import LEASE, LONG, claim, claim_prompts, event_types, job_row, submit_prompts
from tests.stack import CATALOG, settings_of
from tests.waiting import PATIENCE
from worker.generation import claims, microbatch
from worker.generation.context import Context
from worker.generation.local import Outcome
from worker.generation.pass_clock import PassClock
from worker.moderation.moderator import Moderator

SHORT = timedelta(seconds=10)


def reserve(token: UUID, **options: object) -> Statement[JobRow]:
    return reservations.reserve("local", token, "tester", length=SHORT, **options)  # type: ignore[arg-type]  # of claims


def begin(job_ids: Sequence[str], token: UUID) -> Statement[JobRow]:
    return reservations.begin(job_ids, token, "local", "tester", length=LEASE, attempt_timeout=LONG)


def test_a_reserved_job_is_queued_until_its_worker_begins_it(database: Database) -> None:
    job_ids, token = submit_prompts(database, "a cat", "a dog"), uuid4()

    assert [row.id for row in database.execute(reserve(token))] == job_ids

    before = job_row(database, job_ids[0])
    assert (before.status, before.attempts, before.lease, before.started_at) == ("queued", 0, None, None)
    assert event_types(database, job_ids[0]) == ["job.queued"]
    assert not claim_prompts(database)
    assert [row.id for row in database.execute(begin(job_ids, token))] == job_ids
    after = job_row(database, job_ids[0])
    assert (after.status, after.attempts, after.lease, after.worker) == ("in_progress", 1, token, "tester")
    assert event_types(database, job_ids[0]) == ["job.queued", "job.started"]
    assert not database.execute(begin(job_ids, token))


def test_what_a_dead_worker_has_reserved_is_claimed_without_a_crash(database: Database) -> None:
    (job_id,) = submit_prompts(database, "a cat")
    token = uuid4()
    database.execute(reserve(token))
    database.execute(sa.update(table).values(reserved_until=sa.func.now()))  # as seconds later

    assert not database.execute(jobs.reclaim(3, 100))
    assert claim_prompts(database) == ["a cat"]
    row = job_row(database, job_id)
    assert (row.attempts, row.crashes) == (1, 0)
    assert not database.execute(begin([job_id], token))


def test_a_released_job_is_free_at_once(database: Database) -> None:
    job_ids, token = submit_prompts(database, "a cat"), uuid4()
    database.execute(reserve(token))

    assert not database.execute(reservations.release(job_ids, uuid4()))
    assert database.execute(reservations.release(job_ids, token)) == job_ids
    assert claim_prompts(database) == ["a cat"]


def test_others_claim_around_what_is_reserved_in_the_fair_order(database: Database) -> None:
    submit_prompts(database, "a cat", "a dog", "a cow", microbatch_size=2)
    database.execute(reserve(uuid4()))

    assert claim_prompts(database) == ["a cow"]


def test_a_paused_queue_or_a_job_that_crashed_a_worker_is_not_begun_ahead(database: Database) -> None:
    job_ids, token = submit_prompts(database, "a cat"), uuid4()
    database.execute(reserve(token))
    database.execute(pauses.begin("queue", "local", "paused"))
    assert not database.execute(begin(job_ids, token))
    database.execute(pauses.resume("queue", "local"))
    database.execute(sa.update(table).values(crashes=1, reserved_until=None))

    assert not database.execute(reserve(uuid4()))
    assert len(database.execute(claim(uuid4()))) == 1


@pytest.fixture
def context(database: Database, tmp_path: Path) -> Iterator[Context]:
    """A worker on the database of a test, without Redis."""
    catalog = tmp_path / "catalog.toml"
    catalog.write_text(CATALOG)
    url = database.engine.url.render_as_string(hide_password=False)
    settings = settings_of(
        {
            "SAFELIGHT_DATABASE_URL": url,
            "SAFELIGHT_REDIS_URL": "redis://127.0.0.1:1/0",
            "SAFELIGHT_DATA_DIR": str(tmp_path),
            "SAFELIGHT_CATALOG": str(catalog),
            "SAFELIGHT_CANCEL_CHECK": "0.05",
        }
    )
    context = Context.open(settings, Moderator.open(settings))
    yield context
    context.database.close()


def test_a_worker_begins_what_it_reserved_but_not_what_was_cancelled_meanwhile(
    database: Database, context: Context
) -> None:
    cat, dog = submit_prompts(database, "a cat", "a dog")
    reservation = claims.reserve(context, "local", is_fair_turn=False)
    assert reservation is not None
    assert (reservation.job_ids, set(reservation.inputs or ())) == ([cat, dog], {cat, dog})
    (cancelled,) = database.execute(jobs.cancel(DEFAULT_PROJECT, cat))
    assert cancelled.status == "cancelled"

    microbatch = claims.begin(context, "local", reservation, must_notify=False)

    assert microbatch is not None
    assert [job.attempts for job in microbatch.jobs] == [1, 1]
    with microbatch.heartbeat as heartbeat:
        heartbeat.wait_for_start()
        assert [heartbeat.is_active(job_id) for job_id in (cat, dog)] == [False, True]
        assert [job_row(database, job_id).attempts for job_id in (cat, dog)] == [0, 1]
        heartbeat.release(dog)


def test_a_start_whose_reply_was_lost_is_noticed(database: Database, context: Context) -> None:
    submit_prompts(database, "a cat")
    reservation = claims.reserve(context, "local", is_fair_turn=False)
    assert reservation is not None
    assert len(database.execute(begin(reservation.job_ids, reservation.token))) == 1

    microbatch = claims.begin(context, "local", reservation, must_notify=False)

    assert microbatch is not None
    with microbatch.heartbeat as heartbeat:
        heartbeat.wait_for_start()
        assert heartbeat.is_active(reservation.job_ids[0])
        heartbeat.release(reservation.job_ids[0])


def test_a_worker_that_stops_releases_what_it_reserved(database: Database, context: Context) -> None:
    submit_prompts(database, "a cat")
    reservation = claims.reserve(context, "local", is_fair_turn=False)
    assert reservation is not None
    context.drain.begin(10)

    assert claims.begin(context, "local", reservation, must_notify=False) is None
    assert claims.reserve(context, "local", is_fair_turn=False) is None
    assert claim_prompts(database) == ["a cat"]


def test_the_next_micro_batch_is_prepared_only_near_the_end_of_a_pass() -> None:
    clock = PassClock(threading.Lock())
    assert not clock.wait()  # the device is free
    answers: list[bool] = []
    with clock.hold_device():
        waiting = threading.Thread(target=lambda: answers.append(clock.wait()))
        waiting.start()
        clock.update(0)
        clock.update(0.000_001)  # the pass takes a million times as long as until now
        assert not answers
        clock.update(1)
        waiting.join()
    assert answers == [True]
    with clock.hold_device():
        clock.disable()  # a job that has crashed a worker
        clock.update(0)
        clock.update(1)
        waiting = threading.Thread(target=lambda: answers.append(clock.wait()))
        waiting.start()
    waiting.join()
    assert answers == [True, False]


def test_a_fair_turn_takes_a_job_that_cannot_be_reserved(database: Database, context: Context) -> None:
    (crashed,) = submit_prompts(database, "a dog", priority=-1, microbatch_size=1)
    database.execute(sa.update(table).values(crashes=1))
    (urgent,) = submit_prompts(database, "a cat", microbatch_size=1)
    assert not any([context.count_claim("local") for _ in range(FAIR_TURN - 1)])
    has_reserved = threading.Event()
    sa.event.listen(context.database.engine, "checkin", lambda *_: has_reserved.set())
    running = threading.Thread(target=microbatch.run, args=(context, "local"))

    with context.pass_clock.hold_device():
        context.pass_clock.update(0)
        context.pass_clock.update(1)
        running.start()
        assert has_reserved.wait(PATIENCE)  # it may reserve nothing: first comes the job that has crashed a worker
    running.join()

    assert [job_row(database, job_id).status for job_id in (crashed, urgent)] == ["completed", "queued"]


def test_results_are_recorded_though_the_catalogue_has_lost_the_model(
    database: Database, context: Context, tmp_path: Path
) -> None:
    cat, dog = submit_prompts(database, "a cat", "a dog")
    claimed = claims.claim(context, "local", is_fair_turn=False, must_notify=False)
    assert claimed is not None
    (tmp_path / "catalog.toml").write_text(CATALOG.replace('"fake"\n', '"other"\n', 2))
    context.catalog_file.read_again()

    with claimed.heartbeat:
        microbatch.store_and_complete(context, claimed, {cat: None, dog: Outcome(error=InputUnavailable("deleted"))})

    assert [job_row(database, job_id).status for job_id in (cat, dog)] == ["queued", "failed"]


def test_nothing_is_read_or_loaded_for_a_job_that_is_not_begun(database: Database, context: Context) -> None:
    submit_prompts(database, "an edit", operation="edit", inputs={"image": "file_1"}, strength=0.75)
    edit = claims.reserve(context, "local", is_fair_turn=False)
    (cat,) = submit_prompts(database, "a cat")
    reservation = claims.reserve(context, "local", is_fair_turn=False)
    assert edit is not None
    assert edit.inputs is None
    assert reservation is not None
    database.execute(jobs.cancel(DEFAULT_PROJECT, cat))

    claimed = claims.begin(context, "local", reservation, must_notify=False)

    assert claimed is not None
    with claimed.heartbeat:
        assert microbatch.generate(context, claimed) == {cat: None}
    assert not context.models.is_loaded(context.catalog.model("fake"))
