"""`safelight admin failures | slow | crashed | deliveries | storage`: what went wrong, took long, or is stored."""

from collections.abc import Sequence
from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any, Literal

import typer

from cli.admin.output import Json, print_rows
from cli.database import open_database
from cli.environment import read_settings, with_embedded_urls
from cli.table import format_bytes, format_duration
from core.db import RowT, Statement
from core.outbox import dead
from core.reports import job_reports, storage_use
from core.reports.job_reports import MAX_FAILURES, Duration

Limit = Annotated[int, typer.Option(min=1, max=1000, help="Rows, at most.")]
WIDTHS = {"1m": timedelta(minutes=1), "1h": timedelta(hours=1), "1d": timedelta(days=1)}


def failures(
    hours: Annotated[int, typer.Option(min=1, max=24 * 366, help="Hours until now.")] = 24,
    bucket: Annotated[Literal["1m", "1h", "1d"], typer.Option(help="Width of a row in time.")] = "1h",
    limit: Limit = 200,
    as_json: Json = False,
) -> None:
    """Count the failed jobs by time, error code and model."""
    end = datetime.now(UTC)
    start = (end - timedelta(hours=hours)).replace(minute=0, second=0, microsecond=0)
    rows = _read(job_reports.count_failures(start, end, WIDTHS[bucket], limit=limit))
    table = [(f"{row.started_at:%Y-%m-%d %H:%M}", row.code, row.model, str(row.jobs)) for row in rows]
    print_rows(as_json, map(_json, rows), [("UTC", "CODE", "MODEL", "JOBS"), *table])
    if len(rows) == limit:
        typer.echo(f"There may be older rows: --limit is {limit}.", err=True)
    elif sum(row.jobs for row in rows) >= MAX_FAILURES:
        typer.echo(f"There may be more failures: the newest {MAX_FAILURES} are counted.", err=True)


def slow(
    by: Annotated[Duration, typer.Option(help="What makes a job slow: its wait, its last attempt, or all.")] = "run",
    limit: Limit = 20,
    as_json: Json = False,
) -> None:
    """List the slowest of the 10,000 jobs that ended last."""
    rows = _read(job_reports.list_slow(by, limit=limit))
    table = [
        (
            row.id,
            row.status,
            *(_seconds(value) for value in (row.wait_seconds, row.run_seconds, row.total_seconds)),
            str(row.attempts),
            row.model,
            row.project_id,
        )
        for row in rows
    ]
    header = ("JOB", "STATUS", "WAIT", "RUN", "TOTAL", "ATTEMPTS", "MODEL", "PROJECT")
    print_rows(as_json, map(_json, rows), [header, *table])


def crashed(limit: Limit = 20, as_json: Json = False) -> None:
    """List the jobs whose worker died while it had them, and the workers."""
    rows = _read(job_reports.list_crashed(limit=limit))
    table = [
        (row.id, row.status, str(row.crashes), row.error_code or "", row.model, row.project_id, ",".join(row.workers))
        for row in rows
    ]
    header = ("JOB", "STATUS", "CRASHES", "CODE", "MODEL", "PROJECT", "WORKERS")
    print_rows(as_json, map(_json, rows), [header, *table])


def deliveries(
    by_destination: Annotated[bool, typer.Option("--by-destination", help="Count them by destination.")] = False,
    limit: Limit = 20,
    as_json: Json = False,
) -> None:
    """List the webhook deliveries that have failed for good, or count the newest 10,000."""
    if by_destination:
        counts = _read(dead.count_dead(limit=limit))
        lines = [
            (str(row.deliveries), f"{row.finished_at:%Y-%m-%d %H:%M}", row.project_id, row.destination)
            for row in counts
        ]
        print_rows(as_json, map(_json, counts), [("DEAD", "LAST, UTC", "PROJECT", "DESTINATION"), *lines])
        return
    rows = _read(dead.list_dead(limit=limit))
    table = [
        (
            row.id,
            f"{row.finished_at:%Y-%m-%d %H:%M}",
            row.event_type,
            str(row.attempts),
            str(row.status_code or row.error_code or ""),
            row.job_id or row.batch_id or "",
            row.destination,
        )
        for row in rows
    ]
    header = ("DELIVERY", "FAILED, UTC", "EVENT", "ATTEMPTS", "ANSWER", "SUBJECT", "DESTINATION")
    print_rows(as_json, map(_json, rows), [header, *table])


def storage(as_json: Json = False) -> None:
    """List what each project stores, as the sweep has counted it."""
    rows = _read(storage_use.list_use())
    now = datetime.now(UTC)
    table = [
        (
            row.project_id,
            str(row.images),
            format_bytes(row.image_bytes),
            str(row.files),
            format_bytes(row.file_bytes),
            str(row.models),
            format_bytes(row.model_bytes),
            "" if row.counted_at is None else f"{format_duration((now - row.counted_at).total_seconds())} ago",
        )
        for row in rows
    ]
    header = ("PROJECT", "IMAGES", "SIZE", "FILES", "SIZE", "MODELS", "SIZE", "COUNTED")
    print_rows(as_json, map(_json, rows), [header, *table])


def _read(statement: Statement[RowT]) -> Sequence[RowT]:
    with open_database(with_embedded_urls(read_settings())) as database:
        return database.execute(statement)


def _json(row: Any) -> dict[str, Any]:
    return {name: value.isoformat() if isinstance(value, datetime) else value for name, value in asdict(row).items()}


def _seconds(value: float | None) -> str:
    return "" if value is None else f"{value:.1f} s"
