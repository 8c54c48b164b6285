"""A job's position in the queue: its rank, the clock that the rank starts from, and the index scans for both."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import pytest
import sqlalchemy as sa

from bench.queue_length import fill
from cli.local.embedded import EmbeddedValkey
from core import fairness, jobs, priorities, submits
from core.db import Database, Statement, Transaction
from core.tables import DEFAULT_PROJECT
from core.tables import jobs as table
from tests.core.plans import explain_text
from tests.factories import a_job, a_project, claim, claim_prompts, submit_prompts
from tests.stack import settings_of
from worker.generation.context import Context
from worker.moderation.moderator import Moderator


def rank(database: Database, prompt: str) -> float:
    rows = database.execute(sa.select(table.c.fair_rank).where(table.c.prompt == prompt))
    return float(rows[0].fair_rank)


def start_of(database: Database, project_id: str, priority: int = 0, *, batch: bool = False) -> float:
    return float(database.execute(fairness.select_start("local", project_id, priority, batch=batch))[0])


@pytest.mark.parametrize("batch", [False, True])
@pytest.mark.parametrize("priority", [-100, 0, 100])
def test_the_table_works_out_the_same_precedence_as_the_code(database: Database, priority: int, batch: bool) -> None:
    (job_id,) = submit_prompts(database, "a", priority=priority)
    if batch:
        database.execute(sa.update(table).values(batch_id="batch_x", batch_index=0))

    rows = database.execute(sa.select(table.c.precedence).where(table.c.id == job_id))

    assert rows[0].precedence == fairness.precedence(priority, batch=batch)


def test_interactive_goes_before_batch_whatever_the_priorities() -> None:
    assert fairness.precedence(-100, batch=False) < fairness.precedence(100, batch=True)


def test_a_flow_s_jobs_stand_behind_each_other_by_their_cost(database: Database) -> None:
    submit_prompts(database, "a", cost=2.0)
    submit_prompts(database, "b", cost=0.5)
    submit_prompts(database, "c", cost=1.0)

    assert [rank(database, prompt) for prompt in "abc"] == [2.0, 2.5, 3.5]
    assert start_of(database, DEFAULT_PROJECT) == 3.5


def test_an_idle_queue_begins_anew(database: Database) -> None:
    job_ids = submit_prompts(database, "a", "b", cost=5.0)
    for job_id in job_ids:
        database.execute(jobs.cancel(DEFAULT_PROJECT, job_id))

    assert start_of(database, DEFAULT_PROJECT) == 0.0


def test_what_is_cancelled_is_not_charged(database: Database) -> None:
    job_ids = submit_prompts(database, *(str(number) for number in range(20)))
    for job_id in job_ids[5:]:
        database.execute(jobs.cancel(DEFAULT_PROJECT, job_id))

    assert start_of(database, DEFAULT_PROJECT) == 5.0


def test_a_newcomer_starts_at_what_is_on_the_device(database: Database) -> None:
    submit_prompts(database, *("flood" for _ in range(10)), microbatch_size=1)
    for _ in range(4):
        claim_prompts(database)

    assert start_of(database, a_project(database, "newcomer")) == 4.0


def test_companions_from_far_back_do_not_push_newcomers_back(database: Database) -> None:
    for number in range(40):
        submit_prompts(database, f"{number}", microbatch_key="odd" if number % 20 == 0 else "even")
    assert claim_prompts(database) == ["0", "20"]  # at ranks 1 and 21

    assert start_of(database, a_project(database, "newcomer")) == 2.0  # the head of the line


def test_what_must_wait_does_not_hold_the_clock_back(database: Database) -> None:
    submit_prompts(database, *(str(number) for number in range(10)), microbatch_size=1)
    first = sa.update(table).where(table.c.fair_rank <= 4.0)
    database.execute(first.values(not_before=sa.func.clock_timestamp() + timedelta(hours=1)))
    claim_prompts(database)

    assert start_of(database, a_project(database, "newcomer")) == 5.0


def test_another_precedence_keeps_its_own_clock_and_none_stands_behind_the_queue_s(database: Database) -> None:
    submit_prompts(database, *("urgent" for _ in range(9)), microbatch_size=1, priority=10)
    submit_prompts(database, "patient", microbatch_size=1)
    for _ in range(6):
        claim_prompts(database)  # urgent ones, of ranks up to 6

    newcomer = a_project(database, "newcomer")

    assert rank(database, "patient") == 2.0  # behind the first urgent one
    assert start_of(database, newcomer, priority=0) == 2.0
    assert start_of(database, newcomer, priority=10) == 6.0
    assert start_of(database, newcomer, priority=5) == 2.0  # nothing of its kind: where the queue is


def test_a_fair_turn_goes_by_rank_alone(database: Database) -> None:
    submit_prompts(database, "patient", microbatch_size=1)
    submit_prompts(database, "urgent", microbatch_size=1, priority=10)

    assert [claim_prompts(database, fair_turn=True), claim_prompts(database)] == [["patient"], ["urgent"]]


def test_the_head_of_a_fair_turn_is_taken_though_others_of_its_microbatch_key_stand_before_it(
    database: Database,
) -> None:
    submit_prompts(database, "patient", microbatch_size=3)
    submit_prompts(database, *(f"urgent {number}" for number in range(5)), microbatch_size=3, priority=10)

    assert sorted(claim_prompts(database, fair_turn=True)) == ["patient", "urgent 0", "urgent 1"]


def test_one_claim_in_sixteen_is_a_fair_turn_and_the_first_is_not() -> None:
    turns = [fairness.is_fair_turn(number) for number in range(64)]

    assert turns.count(True) == 4
    assert not any(turns[:15])


def test_a_worker_counts_its_claims_for_each_queue(valkey: EmbeddedValkey, database: Database, tmp_path: Path) -> None:
    url = database.engine.url.render_as_string(hide_password=False).replace("+psycopg", "")
    environment = {
        "SAFELIGHT_DATABASE_URL": url,
        "SAFELIGHT_REDIS_URL": valkey.url,
        "SAFELIGHT_DATA_DIR": str(tmp_path),
    }
    context = Context.open(settings_of(environment), Moderator([]))

    turns = [(context.count_claim("local"), context.count_claim("openai")) for _ in range(32)]

    assert [number for number, turn in enumerate(turns) if any(turn)] == [15, 31]
    assert turns[15] == turns[31] == (True, True)  # two queues served in turn do not share the count


def test_large_inserts_of_a_project_wait_for_each_other(database: Database) -> None:
    with database.transaction() as first:
        first.execute(fairness.lock_flow("local", DEFAULT_PROJECT))
        with database.transaction() as second:
            second.execute(sa.text("SET LOCAL lock_timeout = '20ms'"))
            second.execute(fairness.lock_flow("local", "another project"))
            with pytest.raises(sa.exc.OperationalError, match="lock timeout"):
                second.execute(fairness.lock_flow("local", DEFAULT_PROJECT))


@contextmanager
def a_misleading_line(database: Database) -> Iterator[Transaction]:
    """A long queue whose statistics know one micro-batch key and one precedence; rare ones came afterwards."""
    fill(database, DEFAULT_PROJECT, 20_000, batch=True, microbatch_keys=1)
    database.execute(sa.text("ANALYZE jobs"))
    submit_prompts(database, "rare", microbatch_key="rare", cost=1e6)
    submit_prompts(database, "dear", microbatch_key="dear", cost=1e7)
    with database.transaction() as connection:
        yield connection
        connection.rollback()


def plan(transaction: Transaction, statement: Statement[Any]) -> dict[str, Any]:
    """How Postgres ran a statement."""
    if statement.values is not None:
        return dict(explain_text(transaction, statement)["Plan"])

    @sa.event.listens_for(transaction.connection, "before_cursor_execute", retval=True)
    def explain(_connection: object, _cursor: object, sql: str, values: object, *_: object) -> tuple[str, object]:
        return f"EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) {sql}", values

    try:
        (explanation,) = transaction.connection.execute(statement.sql).scalar_one()
    finally:
        sa.event.remove(transaction.connection, "before_cursor_execute", explain)
    return dict(explanation["Plan"])


def nodes(of: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield of
    for child in of.get("Plans", []):
        yield from nodes(child)


def looks(of: dict[str, Any]) -> list[dict[str, Any]]:
    """The scans of jobs, and that none of them reads more than it gives, but for the head passing itself over."""
    scans = [node for node in nodes(of) if node.get("Relation Name") == "jobs" and "Scan" in node["Node Type"]]
    for scan in scans:
        assert scan["Node Type"].startswith("Index"), json.dumps(scan, indent=1)
        assert scan.get("Rows Removed by Filter", 0) <= 1, json.dumps(scan, indent=1)
        assert scan["Actual Rows"] <= 8, json.dumps(scan, indent=1)
    return scans


@pytest.mark.parametrize("fair_turn", [False, True])
def test_a_claim_reads_what_it_takes_and_sorts_no_queue(database: Database, fair_turn: bool) -> None:
    with a_misleading_line(database) as connection:
        of_claim = plan(connection, claim(uuid4(), fair_turn=fair_turn))

    indexes = {scan["Index Name"] for scan in looks(of_claim)}
    assert indexes == {"ix_jobs_fair_line" if fair_turn else "ix_jobs_line", "ix_jobs_companions", "pk_jobs"}
    assert of_claim["Shared Hit Blocks"] + of_claim["Shared Read Blocks"] < 1000  # the line has 20,000 rows


def test_a_submit_reads_a_flow_once_however_many_jobs_it_inserts(database: Database) -> None:
    with a_misleading_line(database) as connection:
        of_submit = plan(connection, submits.submit(*(a_job(priority=number % 2) for number in range(100))))

    scans = looks(of_submit)
    assert {scan["Index Name"] for scan in scans} == {
        "ix_jobs_line",
        "ix_jobs_fair_line",
        "ix_jobs_on_device",
        "ix_jobs_flow",
    }
    assert all(scan["Actual Loops"] <= 2 for scan in scans)  # two flows


def test_the_start_of_a_batch_is_read_from_indexes(database: Database) -> None:
    with a_misleading_line(database) as connection:
        claimed_first: UUID = uuid4()
        connection.execute(claim(claimed_first))
        of_start = plan(connection, fairness.select_start("local", DEFAULT_PROJECT, 0, batch=True))

    looks(of_start)
    assert of_start["Shared Hit Blocks"] + of_start["Shared Read Blocks"] < 50


def test_a_submit_with_a_project_priority_reads_its_places_only(database: Database) -> None:
    fill(database, DEFAULT_PROJECT, 20_000, batch=False, microbatch_keys=1)
    database.execute(sa.text("ANALYZE jobs"))
    submit_prompts(database, "urgent", project_priority=2)
    with database.transaction() as connection:
        of_submit = plan(connection, submits.submit(a_job(project_priority=1)))
        connection.rollback()

    scans = [node for node in nodes(of_submit) if node.get("Relation Name") == "jobs" and "Scan" in node["Node Type"]]
    assert {"ix_jobs_flow", "ix_jobs_project_priority"} <= {scan.get("Index Name") for scan in scans}
    for scan in scans:
        assert scan["Actual Rows"] <= priorities.PLACES, json.dumps(scan, indent=1)
        assert scan.get("Rows Removed by Filter", 0) <= 1, json.dumps(scan, indent=1)
