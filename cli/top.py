"""`safelight top`: queues, workers, rates and failures in the terminal, read from the database again and again."""

import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Annotated

import typer

from cli.database import open_database
from cli.environment import read_settings, with_embedded_urls
from cli.errors import CommandError
from cli.table import format_bytes, format_duration, format_table
from core import pauses
from core.db import Database
from core.pauses import PauseRow
from core.reports import job_reports, queue_reports
from core.reports.job_reports import FailureCount
from core.reports.queue_reports import RATE_WINDOW, QueueReport, WorkerReport

MAX_FAILURES = 10
"""Kinds of failures that a frame has."""

FAILURE_WINDOW = timedelta(hours=1)


@dataclass(frozen=True, slots=True)
class Reading:
    """What one frame shows."""

    queues: list[QueueReport]
    workers: list[WorkerReport]
    pauses: list[PauseRow]
    failures: list[FailureCount]
    now: datetime


def top(
    is_single: Annotated[
        bool, typer.Option("--once", help="Print one frame and end. So it is without a terminal.")
    ] = False,
    interval: Annotated[float, typer.Option(min=0.5, max=3600, help="Seconds between two frames.")] = 2.0,
) -> None:
    """Watch queues, workers, rates and failures of all projects. Ctrl-C ends it."""
    settings = with_embedded_urls(read_settings())
    if is_single or not sys.stdout.isatty():
        with open_database(settings) as database:
            print(*frame(read(database)), sep="\n")
        return
    from rich.live import Live
    from rich.text import Text

    # Ctrl-C, whenever it comes, is the end that is meant.
    with suppress(KeyboardInterrupt), Live(screen=True, auto_refresh=False) as live:
        while True:
            try:
                with open_database(settings) as database:
                    lines = list(frame(read(database)))
            except CommandError as error:  # it may be back at the next frame
                lines = [str(error)]
            live.update(Text("\n".join(lines), no_wrap=True, overflow="ellipsis"), refresh=True)
            time.sleep(interval)


def read(database: Database) -> Reading:
    """Read what a frame shows: four statements, each bounded."""
    end = datetime.now(UTC)
    return Reading(
        queues=database.execute(queue_reports.list_queues()),
        workers=database.execute(queue_reports.list_workers()),
        pauses=database.execute(pauses.list_pauses()),
        failures=database.execute(
            job_reports.count_failures(end - FAILURE_WINDOW, end, FAILURE_WINDOW, limit=MAX_FAILURES)
        ),
        now=end,
    )


def frame(reading: Reading) -> Iterator[str]:
    """The lines of a frame."""
    waiting_jobs = sum(queue.depth for queue in reading.queues)
    running_jobs = sum(queue.in_progress for queue in reading.queues)
    yield (
        f"{reading.now:%Y-%m-%d %H:%M:%S} UTC   {waiting_jobs} jobs wait, {running_jobs} run, "
        f"{sum(_per_minute(queue) for queue in reading.queues):.1f} end a minute, {len(reading.workers)} workers"
    )
    yield from _section("QUEUE", _queues(reading))
    yield from _section("WORKER", _workers(reading))
    yield from _section(
        "FAILURES OF THE LAST HOUR",
        [("CODE", "JOBS", "MODEL"), *((row.code, str(row.jobs), row.model) for row in reading.failures)],
    )


def _section(title: str, table: list[tuple[str, ...]]) -> Iterator[str]:
    yield ""
    yield from format_table(table) if len(table) > 1 else [f"{title}: none"]


def _queues(reading: Reading) -> list[tuple[str, ...]]:
    states = {row.name: row.state for row in reading.pauses if row.kind == "queue"}
    rows = []
    for queue in reading.queues:
        rate = _per_minute(queue)
        pause_state = states.pop(queue.queue, None)
        state = pauses.state_of_queue(pause_state, queue.depth + queue.in_progress)
        oldest = _age(queue.now, queue.oldest_at)
        end = format_duration(60 * queue.depth / rate) if rate and queue.depth and state != "paused" else ""
        counts = (str(queue.depth), str(queue.in_progress), oldest, f"{rate:.1f}", end)
        rows.append((queue.queue, state, *counts))
    rows += [(name, pauses.state_of_queue(state, 0), "0", "0", "", "0.0", "") for name, state in states.items()]
    return [("QUEUE", "STATE", "WAIT", "RUN", "OLDEST", "PER MIN", "DONE IN"), *rows]


def _workers(reading: Reading) -> list[tuple[str, ...]]:
    states = {row.name: row.state for row in reading.pauses if row.kind == "worker"}
    rows = []
    for worker in reading.workers:
        state = pauses.state_of_worker(worker.name, states, is_idle=not worker.microbatches)
        activity = "idle" if worker.is_ready else "loading"
        if worker.started_at is not None:
            activity = f"{len(worker.job_ids)} jobs, {_age(worker.now, worker.started_at)}"
        heartbeat = _age(worker.now, worker.renewed_at)
        memory = (format_bytes(worker.resident_bytes), format_bytes(worker.device_bytes))
        models = ",".join(worker.loaded_models)
        rows.append(
            (worker.name, activity if state == "running" else state, worker.device or "", *memory, heartbeat, models)
        )
    return [("WORKER", "DOES", "DEVICE", "RAM", "WEIGHTS", "HEARTBEAT", "LOADED"), *rows]


def _age(now: datetime, moment: datetime | None) -> str:
    return "" if moment is None else format_duration((now - moment).total_seconds())


def _per_minute(queue: QueueReport) -> float:
    return queue.ended_jobs / (RATE_WINDOW.total_seconds() / 60)
