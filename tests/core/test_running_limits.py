"""The limit of running jobs: exact under parallel claims, in fair order, without reading through what must wait."""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from uuid import uuid4

import pytest
import sqlalchemy as sa

from core import jobs, limits, running_limits, submits
from core.db import Database
from core.rows.job import JobRow
from core.tables import DEFAULT_PROJECT
from core.tables import jobs as table
from tests.core.plans import explain_text, scans
from tests.factories import a_job, a_project, an_image, claim, submit_prompts


def claim_within(database: Database, default: int | None = None, **options: Any) -> Sequence[JobRow]:
    """A claim as a worker makes it while running jobs are limited."""
    with database.transaction() as transaction:
        transaction.execute(running_limits.lock())
        statement = claim(uuid4(), within_limits=True, running_limit=default, **options)
        return transaction.execute(statement)


def prompts(rows: Sequence[JobRow]) -> list[str]:
    return [row.prompt for row in rows]


def complete(database: Database, row: JobRow) -> None:
    assert row.lease is not None
    database.execute(jobs.complete(row.id, row.lease, [an_image(row.id)]))


def submit(database: Database, count: int, **fields: Any) -> None:
    database.execute(submits.submit(*(a_job(prompt=f"{fields.get('project_id')} {n}", **fields) for n in range(count))))


def test_others_are_claimed_around_a_project_at_its_limit(database: Database) -> None:
    other = a_project(database, "other")
    submit_prompts(database, "a", "b", "c", microbatch_size=1)
    submit_prompts(database, "x", microbatch_size=1, project_id=other)
    database.execute(limits.change(DEFAULT_PROJECT, {"running_jobs": 1}))

    first = claim_within(database)
    claims = [prompts(claim_within(database)) for _ in range(2)]
    complete(database, first[0])
    after = claim_within(database)

    assert (prompts(first), claims, prompts(after)) == (["a"], [["x"], []], ["b"])
    assert database.execute(running_limits.count_running(DEFAULT_PROJECT, None)) == [1]


def test_companions_stay_within_the_limits_of_their_project_and_key(database: Database) -> None:
    other = a_project(database, "other")
    submit_prompts(database, "a", "b", "c", api_key_id="key_1")
    submit_prompts(database, "d", "e", api_key_id="key_2")
    submit_prompts(database, "x", "y", project_id=other)
    database.execute(limits.change(DEFAULT_PROJECT, {"running_jobs": 3}))
    database.execute(limits.change("key_1", {"running_jobs": 1}))

    assert sorted(prompts(claim_within(database))) == ["a", "d", "e", "x", "y"]
    assert prompts(claim_within(database)) == []


def test_a_project_has_the_limit_of_the_settings_unless_its_own_is_another(database: Database) -> None:
    free = a_project(database, "free")
    submit(database, 4, project_id=free)
    submit(database, 4, project_id=DEFAULT_PROJECT)
    database.execute(limits.change(free, {"running_jobs": limits.UNLIMITED}))

    projects = [row.project_id for row in claim_within(database, default=2)]

    assert (projects.count(free), projects.count(DEFAULT_PROJECT)) == (4, 2)


def test_parallel_claims_fill_a_limit_exactly(database: Database) -> None:
    submit(database, 40, project_id=DEFAULT_PROJECT, microbatch_size=2)
    database.execute(limits.change(DEFAULT_PROJECT, {"running_jobs": 7}))

    with ThreadPoolExecutor(8) as threads:
        claimed = sum(len(rows) for rows in threads.map(lambda _: claim_within(database), range(24)))

    assert claimed == 7
    assert database.execute(running_limits.count_running(DEFAULT_PROJECT, None)) == [7]


def test_a_worker_that_stops_before_its_claim_does_not_keep_the_lock(database: Database) -> None:
    with database.transaction() as transaction:
        ((before,),) = transaction.execute(sa.text("SHOW idle_in_transaction_session_timeout"))
        transaction.execute(running_limits.lock())
        ((after,),) = transaction.execute(sa.text("SHOW idle_in_transaction_session_timeout"))

    assert (before, after) == ("1min", "3s")


@pytest.mark.parametrize("options", [{}, {"fair_turn": True}, {"resident_models": ["fake"], "patience": 1e9}])
def test_a_claim_does_not_read_through_the_jobs_that_must_wait(database: Database, options: dict[str, Any]) -> None:
    other = a_project(database, "zz other")
    for _ in range(10):
        submit(database, 200, project_id=DEFAULT_PROJECT, api_key_id="key_full", microbatch_size=1)
    submit_prompts(database, "x", "y", project_id=other, microbatch_size=8)
    database.execute(limits.change("key_full", {"running_jobs": 1}))
    database.execute(limits.change(DEFAULT_PROJECT, {"running_jobs": 1}))
    database.execute(sa.update(table).where(table.c.project_id == other).values(fair_rank=10_000.0))
    database.execute(sa.text("ANALYZE jobs"))
    claim_within(database)

    with database.transaction() as transaction:
        tree = explain_text(transaction, claim(uuid4(), within_limits=True, **options))

    print(f"{tree['Execution Time']:.1f} ms")
    assert tree["Plan"]["Actual Rows"] == 1  # its companion stands behind too many that must wait
    for scan in scans(tree, "jobs"):
        if "Actual Rows" in scan and scan["Node Type"] != "ModifyTable":
            assert scan["Actual Rows"] * scan["Actual Loops"] <= running_limits.NEAR_JOBS * 2
            assert scan.get("Rows Removed by Filter", 0) <= running_limits.NEAR_JOBS


def test_a_project_that_waits_for_its_limit_does_not_stop_the_clock(database: Database) -> None:
    patient, hasty = a_project(database, "patient"), a_project(database, "hasty")
    submit(database, 50, project_id=DEFAULT_PROJECT, microbatch_size=1)
    database.execute(limits.change(DEFAULT_PROJECT, {"running_jobs": 1}))
    claim_within(database)
    submit(database, 10, project_id=patient, microbatch_size=1)

    served = []
    for number in range(20):  # one client waits for each of its jobs before it submits the next
        submit(database, 1, project_id=hasty, microbatch_size=1) if number % 2 == 0 else None
        (row,) = claim_within(database)
        served.append(row.project_id)
        complete(database, row)

    assert (served.count(patient), served.count(hasty)) == (10, 10)
    assert served[:10].count(patient) >= 4
