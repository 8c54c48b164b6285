"""The claim: in fair order, compatible jobs only, no more than fit, and no job twice."""

from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from uuid import uuid4

import sqlalchemy as sa

from core import jobs, keys, reservations, submits
from core.db import Database
from core.ids import new_id
from core.new_job import NewJob
from core.tables import LEGACY_COLUMNS
from core.tables import jobs as table
from tests.core.plans import explain_text, indexes, scans
from tests.factories import LEASE, a_job, an_image, claim, claim_prompts, job_row, submit_prompts


def test_jobs_are_claimed_in_the_order_of_submission_up_to_what_fits(database: Database) -> None:
    submit_prompts(database, "a", "b", "c", "d", "e", microbatch_size=3)

    assert [claim_prompts(database), claim_prompts(database), claim_prompts(database)] == [
        ["a", "b", "c"],
        ["d", "e"],
        [],
    ]


def test_images_are_counted_not_jobs(database: Database) -> None:
    submit_prompts(database, "a", "b", n=3, microbatch_size=8)
    submit_prompts(database, "c", n=4, microbatch_size=8)
    submit_prompts(database, "d", n=1, microbatch_size=8)

    assert [claim_prompts(database), claim_prompts(database)] == [["a", "b"], ["c", "d"]]


def test_a_job_larger_than_the_device_is_claimed_alone(database: Database) -> None:
    submit_prompts(database, "big", n=20, microbatch_size=8)
    submit_prompts(database, "small", microbatch_size=8)

    assert [claim_prompts(database), claim_prompts(database)] == [["big"], ["small"]]


def test_jobs_of_other_microbatch_keys_are_claimed_later(database: Database) -> None:
    for prompt, key in (("a", "x"), ("b", "y"), ("c", "x"), ("d", "y")):
        submit_prompts(database, prompt, microbatch_key=key)

    assert [claim_prompts(database), claim_prompts(database)] == [["a", "c"], ["b", "d"]]


def test_a_learned_limit_counts_for_its_microbatch_key_only(database: Database) -> None:
    submit_prompts(database, "a", "b", "c", microbatch_key="x")
    submit_prompts(database, "d", "e", "f", microbatch_key="y")

    limits = {"x": 1}
    assert [claim_prompts(database, limits=limits) for _ in range(4)] == [["a"], ["b"], ["c"], ["d", "e", "f"]]


def test_a_claim_takes_several_passes_where_they_are_short(database: Database) -> None:
    submit_prompts(database, "a", "b", "c", "d", "e", microbatch_size=2, microbatch_key="x")

    assert claim_prompts(database, limits={"x": 4}) == ["a", "b", "c", "d"]


def test_higher_priority_goes_first(database: Database) -> None:
    submit_prompts(database, "later", microbatch_size=1)
    submit_prompts(database, "now", microbatch_size=1, priority=10)

    assert [claim_prompts(database), claim_prompts(database)] == [["now"], ["later"]]


def test_what_must_wait_or_has_expired_is_not_claimed(database: Database) -> None:
    waits, expired = submit_prompts(database, "waits", "expired", microbatch_size=1)
    database.execute(sa.update(table).where(table.c.id == waits).values(not_before=sa.func.now() + timedelta(hours=1)))
    database.execute(sa.update(table).where(table.c.id == expired).values(expires_at=sa.func.now()))

    assert claim_prompts(database) == []


def test_a_job_that_crashed_a_worker_is_claimed_alone(database: Database) -> None:
    _, suspect, _ = submit_prompts(database, "a", "suspect", "b")
    database.execute(sa.update(table).where(table.c.id == suspect).values(crashes=1))

    assert [claim_prompts(database), claim_prompts(database)] == [["a", "b"], ["suspect"]]


def test_a_flood_of_one_project_does_not_hold_up_another(database: Database) -> None:
    (newcomer,) = database.execute(keys.add_project("newcomer"))
    submit_prompts(database, *(f"flood {number}" for number in range(50)), microbatch_size=1)
    claim_prompts(database)
    submit_prompts(database, "single", project_id=newcomer, microbatch_size=1)

    order = [claim_prompts(database)[0] for _ in range(3)]

    assert "single" in order[:2]


def test_two_projects_that_flood_take_turns_by_device_time(database: Database) -> None:
    (other_project,) = database.execute(keys.add_project("other"))
    submit_prompts(database, *(["cheap"] * 40), cost=1.0, microbatch_size=1, project_id=other_project)
    submit_prompts(database, *(["dear"] * 40), cost=2.0, microbatch_size=1)

    first = [claim_prompts(database)[0] for _ in range(30)]

    device_seconds = first.count("cheap") * 1.0, first.count("dear") * 2.0
    assert abs(device_seconds[0] - device_seconds[1]) <= 1.0 + 2.0  # a job of each


def test_sixteen_workers_never_claim_a_job_twice(database: Database) -> None:
    count = 400
    for number in range(count):
        database.execute(submits.submit(a_job(id=new_id("job"), microbatch_key=f"key {number % 5}", n=1 + number % 3)))

    def drain(_: int) -> list[list[tuple[str, str, int]]]:
        batches = []
        while rows := database.execute(claim(uuid4())):
            batches.append([(row.id, row.microbatch_key, row.n) for row in rows])
        return batches

    with ThreadPoolExecutor(16) as pool:
        batches = [batch for worker_batches in pool.map(drain, range(16)) for batch in worker_batches]

    ids = [job_id for batch in batches for job_id, _, _ in batch]
    assert len(ids) == len(set(ids)) == count
    assert all(len({key for _, key, _ in batch}) == 1 for batch in batches)
    assert all(sum(n for _, _, n in batch) <= 8 for batch in batches)
    rows = database.execute(sa.select(sa.func.count()).where(table.c.attempts != 1))
    assert rows[0][0] == 0


def test_a_claim_reads_the_index_and_sorts_nothing(database: Database) -> None:
    job = a_job()
    columns = {name: getattr(job, name) for name in NewJob.__slots__ if name not in ("ttl", "parameters")}
    columns |= {"parameters": job.parameters.dump(), **{name: getattr(job.parameters, name) for name in LEGACY_COLUMNS}}
    rows = [columns | {"id": new_id("job"), "fair_rank": float(number)} for number in range(2000)]
    with database.transaction() as connection:
        for number, values in enumerate(rows):
            values["microbatch_key"] = f"key {number % 8}"
        connection.connection.execute(
            sa.insert(table).values(status="queued", expires_at=sa.func.now() + timedelta(hours=1)), rows
        )
        connection.execute(sa.text("ANALYZE jobs"))
        plan = explain_text(connection, claim(uuid4()))

    assert {"ix_jobs_line", "ix_jobs_companions"} <= indexes(plan)
    assert "Seq Scan" not in {node["Node Type"] for node in scans(plan, "jobs")}


def test_only_what_is_lost_without_harm_does_not_wait_for_the_disk(database: Database) -> None:
    (job_id,) = submit_prompts(database, "a cat")
    lease, token = uuid4(), uuid4()
    reserve = reservations.reserve("local", token, "tester", length=LEASE)
    complete = jobs.complete(job_id, lease, [an_image(job_id)])

    waits: list[str] = []
    for statement in (reserve, claim(lease), complete):
        with database.transaction() as transaction:
            transaction.execute(sa.text("SET LOCAL synchronous_commit = on"))
            transaction.execute(statement)
            waits += transaction.execute(sa.text("SHOW synchronous_commit"))[0]
            if statement is reserve:
                transaction.rollback()

    assert waits == ["off", "off", "on"]
    assert job_row(database, job_id).status == "completed"


def test_jobs_submitted_together_stand_as_if_they_had_come_one_by_one(database: Database) -> None:
    (other_project,) = database.execute(keys.add_project("other"))
    mine = [a_job(prompt=f"mine {number}", microbatch_size=1, cost=2.0) for number in range(3)]
    theirs = [
        a_job(prompt=f"theirs {number}", microbatch_size=1, cost=2.0, project_id=other_project) for number in range(3)
    ]

    rows = database.execute(submits.submit(*mine, *theirs))

    assert {row.id for row in rows} == {job.id for job in (*mine, *theirs)}
    order = [claim_prompts(database)[0] for _ in range(6)]
    assert [prompt for prompt in order if prompt.startswith("mine")] == ["mine 0", "mine 1", "mine 2"]
    assert [{prompt.partition(" ")[0] for prompt in order[pair : pair + 2]} for pair in (0, 2, 4)] == [
        {"mine", "theirs"}
    ] * 3


def test_a_job_of_a_loaded_model_overtakes_others_within_the_patience(database: Database) -> None:
    for number in range(4):
        submit_prompts(database, f"a{number}", model="a", microbatch_key=f"a{number}", cost=10.0)
        submit_prompts(database, f"b{number}", model="b", microbatch_key=f"b{number}", cost=10.0)

    prompts = [claim_prompts(database, resident_models=["b"], patience=35.0) for _ in range(8)]

    # The fair ranks are 10 device-seconds apart: b0 and b1 are 10 and 30 after a0, and b2 is 50 after it.
    assert prompts == [["b0"], ["b1"], ["a0"], ["b2"], ["a1"], ["b3"], ["a2"], ["a3"]]


def test_without_a_job_of_a_loaded_model_the_order_is_the_same(database: Database) -> None:
    submit_prompts(database, "a", "b", microbatch_size=1)

    assert [claim_prompts(database, resident_models=["elsewhere"], patience=9.0) for _ in range(3)] == [
        ["a"],
        ["b"],
        [],
    ]


def test_precedence_comes_before_a_loaded_model(database: Database) -> None:
    submit_prompts(database, "first", model="a", microbatch_key="a")
    submit_prompts(database, "second", model="b", microbatch_key="b", priority=-10)

    assert claim_prompts(database, resident_models=["b"], patience=1000.0) == ["first"]
