"""`safelight admin cancel | retry`: cancel or retry all jobs that match a filter, after they were counted."""

from collections import Counter
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Annotated, Any

import typer

from cli.database import open_database
from cli.environment import read_settings, with_embedded_urls
from cli.errors import CommandError
from cli.parameters import request_options, with_options
from cli.table import format_count
from core import audit, bulk_actions, pauses
from core import jobs as verbs
from core.audit import AuditType, NewAuditEvent
from core.catalog import Catalog, load_catalog
from core.db import ConstraintViolation, Database
from core.errors import SafelightError
from core.redis.notifier import Notifier
from core.redis.progress import Progress
from core.requests.bulk import BulkAction, BulkToken, JobFilter
from core.requests.job import validate
from core.settings import Settings
from core.telemetry.job_metrics import record_ends

TIMES = ("created_after", "created_before")
"""Fields of the filter that are dates here, and Unix seconds in the API."""

After = Annotated[datetime | None, typer.Option(help="Only jobs created after this time, UTC.")]
Before = Annotated[datetime | None, typer.Option(help="Only jobs created before this time, UTC.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Only count the jobs.")]
Yes = Annotated[bool, typer.Option("--yes", help="Do not ask, with the number of jobs.")]


@with_options(tuple(request_options(JobFilter, skip=("error_code", *TIMES))))
def cancel(
    *,
    request: Mapping[str, Any],
    created_after: After = None,
    created_before: Before = None,
    dry_run: DryRun = False,
    yes: Yes = False,
) -> None:
    """Cancel all jobs that match: those that wait at once, those that run at their next step."""
    _act("cancel", _selection(request, created_after, created_before), dry_run=dry_run, yes=yes)


@with_options(tuple(request_options(JobFilter, skip=TIMES)))
def retry(
    *,
    request: Mapping[str, Any],
    created_after: After = None,
    created_before: Before = None,
    dry_run: DryRun = False,
    yes: Yes = False,
) -> None:
    """Submit all jobs that match again, by default those that failed, each at most once."""
    _act("retry", _selection(request, created_after, created_before), dry_run=dry_run, yes=yes)


def _selection(
    request: Mapping[str, Any], created_after: datetime | None, created_before: datetime | None
) -> JobFilter:
    times = {"created_after": _unix_seconds(created_after), "created_before": _unix_seconds(created_before)}
    try:
        return validate(JobFilter, {**request, **times})
    except SafelightError as error:
        raise CommandError(error.message) from None


def _unix_seconds(moment: datetime | None) -> int | None:
    return None if moment is None else int(moment.replace(tzinfo=UTC).timestamp())


def _act(action: BulkAction, selection: JobFilter, *, dry_run: bool, yes: bool) -> None:
    settings = with_embedded_urls(read_settings())
    try:
        statement = bulk_actions.count(action, selection)
    except SafelightError as error:
        raise CommandError(error.message) from None
    with open_database(settings) as database:
        (row,) = database.execute(statement)
    prefix = "" if row.is_exact else "At least "
    print(f"{prefix}{format_count(row.jobs, 'job')} match.")
    if dry_run or (row.is_exact and not row.jobs):
        return
    if not yes:
        typer.confirm(f"{action.capitalize()} {'it' if row.is_exact and row.jobs == 1 else 'them'}?", abort=True)
    token: BulkToken | None = BulkToken(action=action, filter=selection, until=row.now)
    total, skipped_jobs = 0, Counter[str]()
    with open_database(settings) as database:
        catalog = load_catalog(settings.catalog_path).available(settings)
        while token is not None:
            if action == "cancel":
                changed_jobs, token = _cancel_some(database, settings, token)
            else:
                changed_jobs, token = _retry_some(database, settings, catalog, token, skipped_jobs)
            total += changed_jobs
    result = "cancelled, or asked to stop" if action == "cancel" else "submitted again"
    print(f"{format_count(total, 'job')} {result}.")
    for reason, number in sorted(skipped_jobs.items()):
        print(f"{format_count(number, 'job')} left out: {reason}.")


def _cancel_some(database: Database, settings: Settings, token: BulkToken) -> tuple[int, BulkToken | None]:
    job_ids, following = bulk_actions.next_cancel(token, database.execute(bulk_actions.list_open(token)))
    with database.transaction() as transaction:
        rows = transaction.execute(verbs.cancel_named_jobs(job_ids))
        event = NewAuditEvent(AuditType.JOBS_CANCELLED, data=bulk_actions.audit_data(token, len(rows)))
        transaction.execute(audit.record(event))
    Progress(settings).publish_changes([row.id for row in record_ends(rows)])
    return len(rows), following


def _retry_some(
    database: Database, settings: Settings, catalog: Catalog, token: BulkToken, skipped_jobs: Counter[str]
) -> tuple[int, BulkToken | None]:
    job_ids, following = bulk_actions.next_token(token, database.execute(bulk_actions.list_ended(token)))
    old_rows = database.execute(bulk_actions.list_jobs(job_ids))
    input_ids = database.execute(bulk_actions.list_inputs(old_rows))
    draining_queues = pauses.draining_queues(database.execute(pauses.list_pauses()))
    models = database.execute(bulk_actions.list_fine_tuned(old_rows))
    new_jobs, reasons = bulk_actions.plan_retries(old_rows, input_ids, draining_queues, models, catalog, settings)
    skipped_jobs.update(reasons)
    rows = []
    for job in new_jobs:
        try:
            rows += database.execute(bulk_actions.submits([job])[0])
        except ConstraintViolation:
            skipped_jobs["retried_before"] += 1
    event = NewAuditEvent(AuditType.JOBS_RETRIED, data=bulk_actions.audit_data(token, len(rows)))
    database.execute(audit.record(event))
    notifier = Notifier(settings)
    for queue in {row.queue for row in rows}:
        notifier.notify(queue)
    return len(rows), following
