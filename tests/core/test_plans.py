"""What the sweep, the heartbeat and the lists read among 200,000 rows, and how much a statement touches at most."""

from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import pytest
import sqlalchemy as sa

from core import audit, bulk_actions, estimates, files, idempotency, jobs, leases, queries, retention, submits
from core.db import Database, Statement
from core.outbox import dead, deliveries
from core.reports import job_reports, queue_reports, storage_use
from core.requests.bulk import BulkToken, JobFilter
from core.tables import DEFAULT_PROJECT
from core.webhooks import endpoints
from tests.core.plans import indexes, plan, scans
from tests.factories import LEASE, LONG, a_job
from tests.stack import settings_of

ROWS = 200_000
DUE = 500
"""Rows of each kind that are past their time, at the end of the table, where a scan finds them last."""

LIMIT = 100
AGE = timedelta(days=30)

JOBS = f"""
INSERT INTO jobs (id, project_id, status, operation, model, prompt, n, size, steps, guidance_scale, seed,
    output_format, metadata, queue, batch_key, microbatch, cost, fair_rank, max_attempts, expires_at,
    finished_at, lease, lease_expires_at)
SELECT 'job_' || lpad(i::text, 26, '0'), 'proj_default', status, 'generation',
    CASE WHEN i % 5000 = 7 THEN 'rare' ELSE 'common' END, 'a cat', 1, '64x64', 5, 5, i, 'png',
    CASE WHEN i % 1000 = 7 THEN jsonb_build_object('customer', (i % 7000)::text) ELSE '{{}}' END,
    'elsewhere', 'fake', 8, 1, i, 3,
    now() + CASE WHEN i <= {ROWS} - {DUE} THEN interval '1 day' ELSE interval '-1 day' END,
    CASE WHEN status IN ('completed', 'cancelled')
        THEN now() - CASE WHEN i < {ROWS} - 3 * {DUE} THEN interval '1 hour' ELSE interval '60 days' END END,
    CASE WHEN status = 'in_progress' THEN gen_random_uuid() END,
    CASE WHEN status = 'in_progress'
        THEN now() + CASE WHEN i % 2 = 0 THEN interval '-1 second' ELSE interval '1 hour' END END
FROM (SELECT i, CASE WHEN i > {ROWS} - {DUE} OR i % 2 = 0 AND i < {ROWS} / 2 THEN 'queued'
    WHEN i > {ROWS} - 2 * {DUE} THEN 'in_progress' WHEN i % 4000 = 3 THEN 'cancelled' ELSE 'completed' END AS status
    FROM generate_series(1, {ROWS}) i) AS made
"""  # noqa: S608 - our own numbers
IDEMPOTENCY_KEYS = f"""
INSERT INTO idempotency_keys (project_id, key, fingerprint, response, expires_at)
SELECT 'proj_default', i::text, '', '{{}}',
    now() + CASE WHEN i <= {ROWS} - {DUE} THEN interval '1 day' ELSE interval '-1 day' END
FROM generate_series(1, {ROWS}) i
"""  # noqa: S608 - our own numbers
AUDIT = f"""
INSERT INTO audit_events (type, actor, created_at)
SELECT 'api_key.refused', 'none',
    now() - CASE WHEN i <= {ROWS} - {DUE} THEN interval '1 hour' ELSE interval '100 days' END
FROM generate_series(1, {ROWS}) i
"""  # noqa: S608 - our own numbers
FILES = f"""
INSERT INTO files (id, project_id, purpose, filename, bytes, storage_key, expires_at)
SELECT 'file-' || i, 'proj_default', 'vision', 'a.png', 1, 'files/' || i,
    now() + CASE WHEN i <= {ROWS} - {DUE} THEN interval '1 day' ELSE interval '-1 day' END
FROM generate_series(1, {ROWS}) i
"""  # noqa: S608 - our own numbers
BATCHES = f"""
INSERT INTO batches (id, project_id, status, endpoint, completion_window, counts, created_at, expires_at)
SELECT 'batch_' || i, 'proj_default', 'completed', '/v1/images/generations', interval '1 day', '{{}}',
    now() - CASE WHEN i <= {ROWS} - {DUE} THEN interval '1 hour' ELSE interval '60 days' END, now()
FROM generate_series(1, {ROWS}) i
"""  # noqa: S608 - our own numbers
DELIVERIES = f"""
INSERT INTO webhook_deliveries (project_id, batch_id, endpoint_id, lane, event_id, event_type, event_at,
    status, finished_at)
SELECT 'proj_default', 'batch_1', receiver, coalesce(receiver, 'https://own.test'), 'evt_' || i, 'batch.completed',
    now(), CASE WHEN i % 2 = 0 THEN 'pending' ELSE 'delivered' END, CASE WHEN i % 2 = 1 THEN now() END
FROM (SELECT i,
    CASE WHEN i > {ROWS} - 2 * {DUE} THEN 'we_disabled' WHEN i > {ROWS} / 2 THEN 'we_enabled' END AS receiver
    FROM generate_series(1, {ROWS}) i) AS made
"""  # noqa: S608 - our own numbers
ENDPOINTS = """
INSERT INTO webhook_endpoints (id, project_id, name, url, event_types, secret, disabled_at, disabled_reason)
VALUES ('we_disabled', 'proj_default', 'x', 'https://x.test', '[]', 's', now(), 'gone'),
    ('we_enabled', 'proj_default', 'x', 'https://y.test', '[]', 's', NULL, NULL)
"""

FAILURES = 3000
FAILED_JOBS = f"""
INSERT INTO jobs (id, project_id, status, operation, model, prompt, n, size, steps, guidance_scale, seed,
    output_format, queue, batch_key, microbatch, cost, fair_rank, max_attempts, expires_at, crashes, error_code,
    started_at, finished_at)
SELECT 'job_f' || lpad(i::text, 25, '0'), 'proj_failing', 'failed', 'generation', 'common', 'a cat', 1, '64x64', 5, 5,
    i, 'png', 'elsewhere', 'fake', 8, 1, i, 3, now(), CASE WHEN i % 10 = 0 THEN 3 ELSE 0 END,
    CASE WHEN i % 10 = 0 THEN 'poison_job' ELSE 'generator_failed' END, now() - interval '1 minute', now()
FROM generate_series(1, {FAILURES}) i
"""  # noqa: S608 - our own numbers
FAILING_PROJECT = "INSERT INTO projects (id, name) VALUES ('proj_failing', 'failing')"
DEAD_DELIVERIES = f"""
INSERT INTO webhook_deliveries (project_id, batch_id, endpoint_id, lane, event_id, event_type, event_at,
    status, finished_at)
SELECT 'proj_default', 'batch_1', 'we_gone', 'we_gone', 'evt_' || i, 'batch.completed', now(), 'failed', now()
FROM generate_series(1, {FAILURES}) i
"""  # noqa: S608 - our own numbers
IMAGES = f"""
INSERT INTO images (id, job_id, project_id, index, seed, storage_key, media_type, width, height, bytes, sha256, receipt)
SELECT 'img_' || i, 'job_' || lpad(i::text, 26, '0'), 'proj_default', 0, 1, i, 'image/png', 64, 64, 100, '', '{{}}'
FROM generate_series(1, {FAILURES}) i
"""  # noqa: S608 - our own numbers


@pytest.fixture(scope="module")
def large(fresh_database: Callable[[], str]) -> Iterator[Database]:
    """Much of everything; a little is past its time."""
    environment = {"SAFELIGHT_DATABASE_URL": fresh_database(), "SAFELIGHT_STATEMENT_TIMEOUT": "300"}
    database = Database(settings_of(environment), name="test")
    many = JOBS, IDEMPOTENCY_KEYS, AUDIT, FILES, BATCHES, ENDPOINTS, DELIVERIES
    for statement in (*many, FAILING_PROJECT, FAILED_JOBS, DEAD_DELIVERIES, IMAGES, "ANALYZE"):
        database.execute(sa.text(statement))
    yield database
    database.close()


BOUNDED: dict[str, tuple[Statement[Any], str, str]] = {
    "expire": (jobs.expire(LIMIT), "jobs", "ix_jobs_expiry"),
    "reclaim": (jobs.reclaim(3, LIMIT), "jobs", "ix_jobs_"),
    "old jobs": (retention.list_old_jobs(AGE, LIMIT), "jobs", "ix_jobs_retention"),
    "batches": (retention.purge_batches(AGE, LIMIT), "batches", "ix_batches_retention"),
    "files": (files.list_expired(LIMIT), "files", "ix_files_expiry"),
    "audit": (audit.purge(AGE, LIMIT), "audit_events", "ix_audit_events_retention"),
    "keys": (idempotency.purge_expired(LIMIT), "idempotency_keys", "ix_idempotency_keys_expires_at"),
    "unreachable": (
        deliveries.give_up_unreachable(LIMIT),
        "webhook_deliveries",
        "ix_webhook_deliveries_lane",
    ),
    "before enabling": (
        deliveries.give_up_waiting("we_disabled", LIMIT),
        "webhook_deliveries",
        "ix_webhook_deliveries_lane",
    ),
}


def test_estimates_read_an_index_and_no_more_jobs_than_their_limit(large: Database) -> None:
    found = plan(large, estimates.list_measured())

    (scan,) = scans(found, "jobs")
    assert "ix_jobs_retention" in indexes(found)
    assert scan["Node Type"] != "Seq Scan"
    assert scan["Actual Rows"] <= estimates.RECENT_JOBS


@pytest.mark.parametrize("name", BOUNDED)
def test_a_sweep_reads_an_index_and_touches_no_more_than_its_limit(large: Database, name: str) -> None:
    statement, table, index = BOUNDED[name]
    found = plan(large, statement)

    print(f"{name}: {found['Execution Time']:.2f} ms")
    assert found["Plan"]["Actual Rows"] == LIMIT
    assert any(name.startswith(index) for name in indexes(found))  # two indexes have the jobs in progress
    for scan in scans(found, table):
        assert scan["Node Type"] != "Seq Scan"
        assert scan["Actual Rows"] * scan["Actual Loops"] <= LIMIT
        assert scan.get("Rows Removed by Filter", 0) <= DUE  # of the jobs in progress, those whose lease holds


def test_what_is_past_its_time_is_all_taken_a_chunk_at_a_time(large: Database) -> None:
    took = []
    with large.transaction() as connection:
        while rows := connection.execute(idempotency.purge_expired(200)):
            took.append(len(rows))
        connection.rollback()

    assert took == [200, 200, DUE - 400]


def test_disabling_an_endpoint_gives_up_a_bounded_part_and_nothing_more_is_claimed(large: Database) -> None:
    found = plan(large, endpoints.update(DEFAULT_PROJECT, "we_enabled", {}, enable=False))

    updated = [node for node in scans(found, "webhook_deliveries") if node["Node Type"] == "ModifyTable"]
    assert [node["Actual Rows"] for node in updated] == [0]  # it returns nothing
    picked = [node for node in scans(found, "webhook_deliveries") if node.get("Index Name", "").endswith("_lane")]
    assert [node["Actual Rows"] for node in picked] == [deliveries.GIVE_UP_LIMIT]


LISTS: dict[str, tuple[dict[str, object], str]] = {
    "a rare status": ({"statuses": ["cancelled"]}, "ix_jobs_project_status"),
    "a status that no job has": ({"statuses": ["failed"]}, "ix_jobs_project_status"),
    "two statuses": ({"statuses": ["failed", "cancelled"]}, "ix_jobs_project_status"),
    "a rare model": ({"model": "rare"}, "ix_jobs_project_model"),
    "a model that no job has": ({"model": "none"}, "ix_jobs_project_model"),
    "metadata": ({"metadata": {"customer": "7"}}, "ix_jobs_metadata"),
    "metadata that no job has": ({"metadata": {"customer": "x"}}, "ix_jobs_metadata"),
}


@pytest.mark.parametrize("name", LISTS)
def test_a_list_reads_an_index_and_little_more_than_its_page(large: Database, name: str) -> None:
    filters, index = LISTS[name]
    found = plan(large, queries.list_jobs(DEFAULT_PROJECT, limit=21, descending=True, **filters))  # type: ignore[arg-type]

    print(f"{name}: {found['Execution Time']:.2f} ms")
    assert index in indexes(found)
    for scan in scans(found, "jobs"):
        assert scan["Node Type"] != "Seq Scan"
        assert scan["Actual Rows"] * scan["Actual Loops"] <= 42
        assert scan.get("Rows Removed by Filter", 0) == 0


def test_the_report_of_queues_reads_indexes_only(large: Database) -> None:
    found = plan(large, queue_reports.list_queues())

    print(f"queues: {found['Execution Time']:.2f} ms")
    for scan in scans(found, "jobs"):
        assert scan["Node Type"] != "Seq Scan"
        assert scan["Actual Rows"] * scan["Actual Loops"] <= queue_reports.MAX_DEPTH


NEWEST = 200
REPORTS: dict[str, tuple[Statement[Any], str, str]] = {
    "failures": (
        job_reports.count_failures(
            datetime.now(UTC) - AGE, datetime.now(UTC) + AGE, AGE, limit=20, counted_jobs=NEWEST
        ),
        "jobs",
        "ix_jobs_unsuccessful",
    ),
    "slow jobs": (job_reports.list_slow("run", limit=20, ended_jobs=NEWEST), "jobs", "ix_jobs_retention"),
    "crashed jobs": (job_reports.list_crashed(limit=NEWEST), "jobs", "ix_jobs_crashed"),
    "dead deliveries": (dead.list_dead(limit=NEWEST), "webhook_deliveries", "ix_webhook_deliveries_failed"),
    "dead destinations": (
        dead.count_dead(limit=20, counted_deliveries=NEWEST),
        "webhook_deliveries",
        "ix_webhook_deliveries_failed",
    ),
    "storage of images": (storage_use.count_chunk("images", "img_1", NEWEST), "images", "pk_images"),
    "storage of files": (storage_use.count_chunk("files", "", NEWEST), "files", "pk_files"),
}


@pytest.mark.parametrize("name", REPORTS)
def test_a_report_for_operators_reads_an_index_and_no_more_than_its_maximum(large: Database, name: str) -> None:
    statement, table, index = REPORTS[name]
    found = plan(large, statement)

    print(f"{name}: {found['Execution Time']:.2f} ms")
    assert index in indexes(found)
    (scan,) = scans(found, table)
    assert scan["Node Type"] != "Seq Scan"
    assert scan["Actual Rows"] == NEWEST
    assert scan.get("Rows Removed by Filter", 0) == 0


RETRY = BulkToken(action="retry", filter=JobFilter(error_code="poison_job"), until=datetime.now(UTC) + AGE)
CANCEL = BulkToken(action="cancel", filter=JobFilter(model="rare"), until=datetime.now(UTC) + AGE)
BULK: dict[str, Statement[Any]] = {
    "count of failed jobs": bulk_actions.count("retry", RETRY.filter, counted_jobs=NEWEST),
    "failed jobs": bulk_actions.list_ended(RETRY),
    "count of open jobs": bulk_actions.count("cancel", CANCEL.filter, counted_jobs=NEWEST),
    "open jobs": bulk_actions.list_open(CANCEL),
    "next open jobs": bulk_actions.list_open(
        CANCEL.model_copy(update={"position": ("local", DEFAULT_PROJECT, 0, 0.0, "job_1")})
    ),
    "cancel of named jobs": jobs.cancel_named_jobs(["job_1", "job_2"]),
}


@pytest.mark.parametrize("name", BULK)
def test_a_step_of_a_bulk_action_reads_an_index(large: Database, name: str) -> None:
    found = plan(large, BULK[name])

    print(f"{name}: {found['Execution Time']:.2f} ms by {sorted(indexes(found))}")
    for scan in scans(found, "jobs"):
        assert scan["Node Type"] != "Seq Scan"
        if name.startswith("count"):
            assert scan["Actual Rows"] * scan["Actual Loops"] <= NEWEST


def test_a_list_of_several_statuses_is_the_page_of_them_all(large: Database) -> None:
    def page(*statuses: str, **options: object) -> list[str]:
        statement = queries.list_jobs(DEFAULT_PROJECT, limit=5, statuses=statuses, **options)  # type: ignore[arg-type]
        return [row.id for row in large.execute(statement)]

    for descending in (False, True):
        both = page("cancelled", "in_progress", descending=descending)
        apart = page("cancelled", descending=descending) + page("in_progress", descending=descending)
        assert both == sorted(apart, reverse=descending)[:5]
        following = page("cancelled", "in_progress", descending=descending, after=both[1])
        assert following[:3] == both[2:]


def test_a_heartbeat_touches_no_index(database: Database) -> None:
    lease, renewals = uuid4(), 500
    database.execute(submits.submit(*(a_job(microbatch_size=8) for _ in range(8))))
    claimed = database.execute(leases.claim("local", lease, "w", length=LEASE, attempt_timeout=LONG))
    with database.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        before = updates(connection)
        for _ in range(renewals):
            assert len(connection.execute(leases.renew(lease, LEASE).sql).all()) == len(claimed)
        after = updates(connection)

    made, hot = (new - old for new, old in zip(after, before, strict=True))
    print(f"{hot} of {made} renewals are HOT")
    assert made == renewals * len(claimed)
    assert hot >= 0.9 * made


def updates(connection: sa.Connection) -> tuple[int, int]:
    """Updates of jobs until now, and how many of them were HOT."""
    connection.execute(sa.select(sa.func.pg_stat_force_next_flush()))
    counted = connection.execute(
        sa.text("SELECT n_tup_upd, n_tup_hot_upd FROM pg_stat_user_tables WHERE relname = 'jobs'")
    ).one()
    return int(counted.n_tup_upd), int(counted.n_tup_hot_upd)
