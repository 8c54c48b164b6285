"""What workers report about themselves, and how long the rows of dead ones stay."""

from datetime import timedelta
from uuid import uuid4

import sqlalchemy as sa

from core import leases, submits, tables, workers
from core.db import Database
from core.reports import queue_reports
from core.self_test import SelfTest
from core.workers import ModelState, WorkerDevice
from tests.factories import LEASE, LONG, a_job

DEVICE = WorkerDevice("NVIDIA H200", ["sdxl", "fake"], 3_000_000_000, 7_000_000_000, 112_000_000_000)


def test_a_report_has_the_device_and_a_row_for_each_microbatch_in_hand(database: Database) -> None:
    database.execute(workers.announce("gpu-3:4711", ["local"], is_ready=True, length=LONG, device=DEVICE))
    database.execute(submits.submit(*(a_job() for _ in range(3)), a_job(microbatch_key="other")))
    claims = [
        database.execute(leases.claim("local", uuid4(), "gpu-3:4711", length=LEASE, attempt_timeout=LONG))
        for _ in range(2)
    ]

    (report,) = database.execute(queue_reports.list_workers())

    assert (report.device, report.loaded_models) == ("NVIDIA H200", ["sdxl", "fake"])
    assert (report.resident_bytes, report.device_bytes) == (3_000_000_000, 7_000_000_000)
    assert report.renewed_at is not None
    assert report.renewed_at <= report.now < report.expires_at
    assert [item["job_ids"] for item in report.microbatches] == [sorted(row.id for row in rows) for rows in claims]


def test_the_rows_of_workers_that_died_long_ago_are_deleted(database: Database) -> None:
    for name, age in (("old:1", 2 * workers.DEAD_AGE), ("recent:1", timedelta(seconds=1)), ("alive:1", -LONG)):
        database.execute(workers.announce(name, ["local"], is_ready=True, length=-age))

    assert database.execute(workers.purge_dead(10)) == ["old:1"]
    assert sorted(row.name for row in database.execute(sa.select(tables.workers.c.name))) == ["alive:1", "recent:1"]


def test_the_workers_of_each_model_are_counted_by_its_state(database: Database) -> None:
    equal, unequal = (SelfTest(size="64x64", images=4, difference=difference) for difference in (0, 3))
    reports: list[dict[str, ModelState]] = [
        {"sdxl": {"state": "loaded", "bytes": 7_000_000_000, "self_test": equal}, "flux": {"state": "loading"}},
        {"sdxl": {"state": "loaded", "bytes": 6_000_000_000, "self_test": unequal}},
        {"sdxl": {"state": "unusable", "reason": "It is broken."}},
    ]
    for number, models in enumerate(reports):
        device = WorkerDevice(models=models)
        database.execute(workers.announce(f"gpu:{number}", ["local"], is_ready=True, length=LONG, device=device))
    database.execute(workers.announce("earlier:1", ["local"], is_ready=True, length=LONG))
    database.execute(workers.announce("dead:1", ["local"], is_ready=True, length=-LONG, device=device))

    flux, sdxl = database.execute(workers.list_models())

    assert (flux.model, flux.loaded_workers, flux.loading_workers, flux.bytes, flux.self_tests) == (
        "flux",
        0,
        1,
        None,
        None,
    )
    assert (sdxl.loaded_workers, sdxl.unusable_workers, sdxl.bytes, sdxl.reason) == (
        2,
        1,
        7_000_000_000,
        "It is broken.",
    )
    assert sorted(result["difference"] for result in sdxl.self_tests or ()) == [0, 3]
