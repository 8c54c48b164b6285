"""Priority within a project: an urgent job comes before the project's others, and other projects see no difference."""

from collections import Counter
from typing import Any

import pytest
import sqlalchemy as sa

from core import fairness, priorities, submits
from core.db import Database
from core.tables import DEFAULT_PROJECT
from core.tables import jobs as table
from tests.factories import a_job, a_project, claim_prompts, submit_prompts


def order(database: Database, project_id: str = DEFAULT_PROJECT) -> list[str]:
    """The prompts of a project's queued jobs, as they will be claimed."""
    query = sa.select(table.c.prompt).where(table.c.project_id == project_id, table.c.status == "queued")
    return [row.prompt for row in database.execute(query.order_by(table.c.precedence, table.c.fair_rank, table.c.id))]


def ranks(database: Database, project_id: str = DEFAULT_PROJECT) -> list[float]:
    query = sa.select(table.c.fair_rank).where(table.c.project_id == project_id).order_by(table.c.fair_rank)
    return [row.fair_rank for row in database.execute(query)]


@pytest.mark.parametrize(
    ("priority", "maximum", "among", "within"), [(0, 0, 0, 0), (100, 0, 0, 100), (-5, 0, -5, 0), (30, 10, 10, 20)]
)
def test_a_priority_counts_among_projects_up_to_the_maximum(
    priority: int, maximum: int, among: int, within: int
) -> None:
    assert priorities.among_projects(priority, maximum) == among
    assert priorities.within_project(priority, maximum) == within


def test_more_urgent_jobs_come_first_and_equal_ones_in_the_order_of_submission(database: Database) -> None:
    submit_prompts(database, "a", "b")
    submit_prompts(database, "urgent 1", "urgent 2", project_priority=5)
    submit_prompts(database, "most urgent", project_priority=9)
    submit_prompts(database, "little urgent", project_priority=1)
    submit_prompts(database, "c")

    assert order(database) == ["most urgent", "urgent 1", "urgent 2", "little urgent", "a", "b", "c"]
    assert ranks(database) == [float(number) for number in range(1, 8)]


def test_a_dear_urgent_job_pushes_the_others_back_by_its_cost(database: Database) -> None:
    submit_prompts(database, "a", "b", cost=1.0)
    submit_prompts(database, "dear", cost=10.0, project_priority=1)

    assert order(database) == ["dear", "a", "b"]
    assert ranks(database) == [10.0, 11.0, 12.0]


def test_what_is_on_the_device_is_not_touched(database: Database) -> None:
    submit_prompts(database, "a", "b", "c", microbatch_size=1)
    claim_prompts(database)
    submit_prompts(database, "urgent", microbatch_size=1, project_priority=1)

    assert order(database) == ["urgent", "b", "c"]
    assert ranks(database) == [1.0, 2.0, 3.0, 4.0]


def test_in_a_long_flow_only_so_many_jobs_stand_back(database: Database) -> None:
    submit_prompts(database, *(f"{number:03}" for number in range(priorities.PLACES + 10)))
    submit_prompts(database, "urgent", project_priority=1)

    names = order(database)

    assert names[0] == "urgent"
    assert names[1 : priorities.PLACES] == [f"{number:03}" for number in range(priorities.PLACES - 1)]
    assert names[-1] == f"{priorities.PLACES - 1:03}"  # it made room at the end
    assert ranks(database) == [float(number) for number in range(1, priorities.PLACES + 12)]


def test_a_project_that_makes_all_its_jobs_urgent_gets_its_share_and_no_more(database: Database) -> None:
    urgent, modest = a_project(database, "urgent"), a_project(database, "modest")
    submit_prompts(database, *["modest"] * 30, project_id=modest, microbatch_size=1)
    submit_prompts(database, *["low"] * 15, project_id=urgent, microbatch_size=1)
    for number in range(15):
        submit_prompts(database, "high", project_id=urgent, project_priority=number + 1, microbatch_size=1)

    claims = [claim_prompts(database, fair_turn=fairness.is_fair_turn(number))[0] for number in range(30)]

    counts = Counter(claims)
    assert counts.keys() == {"modest", "high"}
    assert abs(counts["modest"] - counts["high"]) <= 2


def test_an_urgent_batch_comes_before_the_projects_other_batch(database: Database) -> None:
    def submit_batch(name: str, count: int, project_priority: int) -> None:
        start = priorities.select_start("local", DEFAULT_PROJECT, 0, project_priority, cost=float(count), count=count)
        with database.transaction() as transaction:
            (rank,) = transaction.execute(start)
            for number in range(count):
                row: dict[str, Any] = {
                    **{name: getattr(a_job(), name) for name in ("id", "project_id", "operation", "model", "queue")},
                    "prompt": f"{name} {number}", "status": "queued", "n": 1, "size": "64x64", "steps": 5,
                    "guidance_scale": 5.0, "seed": 7, "output_format": "png", "microbatch_key": "fake",
                    "microbatch_size": 1, "cost": 1.0, "fair_rank": rank + number + 1.0, "max_attempts": 3,
                    "expires_at": sa.func.now() + sa.text("interval '1 hour'"), "batch_id": name, "batch_index": number,
                    "project_priority": project_priority,
                }  # fmt: skip
                transaction.execute(sa.insert(table).values(row))

    submit_batch("first", 300, 0)
    submit_batch("urgent", 50, 3)

    names = order(database)

    assert names[:50] == [f"urgent {number}" for number in range(50)]
    assert names[50:150] == [f"first {number}" for number in range(100)]
    assert sorted(ranks(database)) == [float(number) for number in range(1, 351)]


def test_a_job_with_a_project_priority_is_not_submitted_among_others() -> None:
    with pytest.raises(ValueError, match="too many values"):
        submits.submit(a_job(), a_job(project_priority=1))


def test_only_jobs_that_would_be_claimed_first_stand_before_a_call(database: Database) -> None:
    flood, single = a_project(database, "flood"), a_project(database, "single")
    submit_prompts(database, *["x"] * 20, project_id=flood)
    for number in range(20):
        (job_id,) = submit_prompts(database, "line", project_id=flood)
        database.execute(sa.update(table).where(table.c.id == job_id).values(batch_id="batch_x", batch_index=number))

    def has_ahead(project_id: str, count: int, priority: int = 0) -> bool:
        return bool(database.execute(fairness.has_jobs_ahead("local", project_id, priority, 1.0, count)))

    assert has_ahead(flood, 20)
    assert not has_ahead(flood, 21)
    assert has_ahead(single, 2)  # the flood's first, and its second, which has the same rank
    assert not has_ahead(single, 3)
    assert has_ahead(single, 20, priority=-1)
    assert not has_ahead(single, 1, priority=1)
