"""Many submitters of one project at several API processes: a limit is filled exactly, and others notice nothing."""

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest
import sqlalchemy as sa

from cli.local.embedded import EmbeddedValkey
from core import limits
from core.tables import jobs
from tests.factories import a_key, a_project
from tests.stack import Stack, free_port
from tests.waiting import PATIENCE

SUBMITTERS, PROCESSES, EACH = 50, 3, 20


@pytest.mark.hostile
@pytest.mark.parametrize("name", ["jobs", "device_seconds_per_day"])
def test_fifty_submitters_at_three_processes_fill_a_limit_exactly(
    directory: Path, fresh_database: Callable[[], str], valkey: EmbeddedValkey, name: str
) -> None:
    limit = 333
    with Stack(directory / f"hostile-{name}", fresh_database(), valkey.url, SAFELIGHT_AUTH="on") as stack:
        ports = [free_port() for _ in range(PROCESSES)]
        for port in ports:
            stack.api(port)
        project_id = a_project(stack.database, "crowd")
        key = a_key(stack.database, project_id)
        stack.database.execute(limits.change(project_id, {name: float(limit)}))

        def submit(number: int) -> list[tuple[int, str]]:
            headers = {"authorization": f"Bearer {key}"}
            url = f"http://127.0.0.1:{ports[number % PROCESSES]}"
            results = []
            with httpx.Client(base_url=url, headers=headers, timeout=PATIENCE) as client:
                for _ in range(EACH):
                    answer = client.post("/v1/jobs", json={"prompt": "x", "model": "elsewhere"})
                    code = "" if answer.status_code == 202 else answer.json()["error"]["code"]
                    results.append((answer.status_code, code))
            return results

        began = time.monotonic()
        with ThreadPoolExecutor(SUBMITTERS) as threads:
            results = [result for of_one in threads.map(submit, range(SUBMITTERS)) for result in of_one]
        (row,) = stack.database.execute(
            sa.select(sa.func.count().label("total"), sa.func.min(jobs.c.cost).label("cost")).select_from(jobs)
        )
        expected = limit if name == "jobs" else int(limit / row.cost)  # a little more than a second for each

        code = "too_many_jobs" if name == "jobs" else "insufficient_quota"
        seconds = time.monotonic() - began
        print(f"\n{name}: {row.total} jobs of {len(results)} requests for {expected}, in {seconds:.1f} s")
        assert row.total == expected == results.count((202, ""))
        assert results.count((429, code)) == len(results) - expected
