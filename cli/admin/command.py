"""`safelight admin queues | workers | pause | drain | resume`: what an operator sees and does, in the database.

The reports of failures and storage are in `cli/admin/reports.py`, the commands for many jobs in `cli/admin/jobs.py`.
"""

from dataclasses import asdict
from datetime import datetime
from typing import Annotated

import typer

from cli.admin.jobs import cancel, retry
from cli.admin.output import Json, print_rows
from cli.admin.reports import crashed, deliveries, failures, slow, storage
from cli.database import open_database
from cli.environment import read_settings, with_embedded_urls
from cli.errors import CommandError
from cli.table import format_bytes, format_duration
from core import audit, pauses
from core.audit import AuditType, NewAuditEvent
from core.catalog import load_catalog
from core.pauses import PauseKind, PauseState
from core.redis.notifier import Notifier
from core.reports import queue_reports

app = typer.Typer(
    name="admin",
    help="Show queues, workers and failures of all projects; pause, drain and resume queues and workers.",
    no_args_is_help=True,
    rich_markup_mode=None,
    add_completion=False,
)

for command in (failures, slow, crashed, deliveries, storage, cancel, retry):
    app.command()(command)

Kind = Annotated[PauseKind, typer.Argument(help="queue or worker.")]
Name = Annotated[str, typer.Argument(help="Name of the queue; or of the worker (HOST:PID), or the host of workers.")]
Yes = Annotated[bool, typer.Option("--yes", help="Do not ask, with the number of jobs that would wait.")]


@app.command()
def queues(as_json: Json = False) -> None:
    """List the queues that have jobs or a pause: jobs that wait and run, age of the oldest, jobs ended in 5 minutes."""
    with open_database(with_embedded_urls(read_settings())) as database:
        reports = {row.queue: asdict(row) for row in database.execute(queue_reports.list_queues())}
        states = {row.name: row.state for row in database.execute(pauses.list_pauses()) if row.kind == "queue"}
    rows = []
    for name in sorted(reports.keys() | states.keys()):
        report = reports.get(name, {"queue": name, "depth": 0, "in_progress": 0, "ended_jobs": 0})
        oldest_at, now = report.pop("oldest_at", None), report.pop("now", None)
        oldest = None if oldest_at is None else (now - oldest_at).total_seconds()
        state = pauses.state_of_queue(states.get(name), report["depth"] + report["in_progress"])
        rows.append({**report, "oldest_seconds": oldest, "state": state})
    table = [("QUEUE", "STATE", "WAIT", "RUN", "OLDEST", "ENDED IN 5 MIN")]
    for row in rows:
        age = "" if row["oldest_seconds"] is None else format_duration(row["oldest_seconds"])
        table.append(
            (row["queue"], row["state"], str(row["depth"]), str(row["in_progress"]), age, str(row["ended_jobs"]))
        )
    print_rows(as_json, rows, table)


@app.command()
def workers(as_json: Json = False) -> None:
    """List the workers that run: state, device, loaded models, memory, micro-batches in hand, last heartbeat."""
    with open_database(with_embedded_urls(read_settings())) as database:
        reports = database.execute(queue_reports.list_workers())
        states = {row.name: row.state for row in database.execute(pauses.list_pauses()) if row.kind == "worker"}
    rows = [
        {
            "worker": row.name,
            "state": pauses.state_of_worker(row.name, states, is_idle=not row.microbatches),
            "is_ready": row.is_ready,
            "queues": list(row.queues),
            "device": row.device,
            "loaded_models": list(row.loaded_models),
            "resident_bytes": row.resident_bytes,
            "device_bytes": row.device_bytes,
            "device_capacity_bytes": row.device_capacity,
            "microbatches": list(row.microbatches),
            "last_heartbeat_at": None if row.renewed_at is None else row.renewed_at.isoformat(),
        }
        for row in reports
    ]
    table = [("WORKER", "STATE", "DEVICE", "LOADED", "RAM", "JOBS", "SINCE", "HEARTBEAT", "QUEUES")]
    for row, report in zip(rows, reports, strict=True):
        table.append(
            (
                report.name,
                "loading" if row["state"] == "running" and not report.is_ready else str(row["state"]),
                report.device or "",
                ",".join(report.loaded_models),
                format_bytes(report.resident_bytes),
                str(len(report.job_ids)),
                _age(report.now, report.started_at),
                _age(report.now, report.renewed_at),
                ",".join(report.queues),
            )
        )
    print_rows(as_json, rows, table)


def _age(now: datetime, moment: datetime | None) -> str:
    return "" if moment is None else format_duration((now - moment).total_seconds())


@app.command()
def pause(kind: Kind, name: Name, yes: Yes = False) -> None:
    """Let nothing be claimed from a queue, or by a worker, until it is resumed. Micro-batches in hand are finished."""
    _begin(kind, name, "paused", yes)


@app.command()
def drain(kind: Kind, name: Name, yes: Yes = False) -> None:
    """Accept no more jobs for a queue, and work off those that wait; or let a worker finish what it holds."""
    _begin(kind, name, "draining", yes)


@app.command()
def resume(kind: Kind, name: Name) -> None:
    """End a pause or a drain."""
    settings = with_embedded_urls(read_settings())
    event = NewAuditEvent(AuditType.PAUSE_ENDED, subject_id=name, data={"subject": kind})
    with open_database(settings) as database:
        if not database.execute(audit.with_audit_event(pauses.resume(kind, name), event)):
            raise CommandError(f"The {kind} {name} is not paused.")
        states = {row.name: row.state for row in database.execute(pauses.list_pauses()) if row.kind == "worker"}
    if kind == "queue":
        Notifier(settings).notify(name)
    print(f"The {kind} {name} is resumed.")
    state = states.get(name.partition(":")[0])
    if kind == "worker" and state is not None:
        print(f"It still claims nothing: its host is {state}.")


def _begin(kind: PauseKind, name: str, state: PauseState, yes: bool) -> None:
    settings = with_embedded_urls(read_settings())
    event = NewAuditEvent(AuditType.PAUSE_BEGUN, subject_id=name, data={"subject": kind, "state": state})
    with open_database(settings) as database:
        is_in_catalog = kind == "queue" and any(
            model.queue == name for model in load_catalog(settings.catalog_path).models
        )
        if not is_in_catalog and not database.execute(pauses.find(kind, name)):
            raise CommandError(f"There is no {kind} {name}; `safelight admin {kind}s` lists them.")
        reports = database.execute(queue_reports.list_queues())
    depth = sum(row.depth for row in reports if row.queue == name)
    if not yes:
        typer.confirm(_question(kind, name, state, depth), abort=True)
    with open_database(settings) as database:  # the connection was not held while a person decided
        database.execute(audit.with_audit_event(pauses.begin(kind, name, state), event))
    print(f"The {kind} {name} is {state}.")


def _question(kind: PauseKind, name: str, state: PauseState, depth: int) -> str:
    if kind == "worker":
        return f"Let nothing be claimed by the worker {name}?"
    if state == "draining":
        return f"Accept no more jobs for the queue {name}? The {depth} jobs that wait are worked off."
    return f"Let nothing be claimed from the queue {name}: {depth} jobs will wait?"
