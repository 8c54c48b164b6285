"""`safelight jobs` and `safelight cancel JOB`."""

import sys
import time
from typing import Annotated

import typer

from cli.client import JobId, Key, Url, connect, json_line
from cli.errors import CommandError
from cli.table import format_duration, format_table, one_line
from core.status import JobStatus
from safelight_client import Job


def jobs(
    status: Annotated[
        list[JobStatus] | None, typer.Option(help="Only jobs with this status; repeatable.", case_sensitive=False)
    ] = None,
    model: Annotated[str | None, typer.Option(help="Only jobs of this model.")] = None,
    limit: Annotated[int, typer.Option(min=1, help="Maximum number of jobs, newest first.")] = 20,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print one JSON object per job, as the API sends it.")
    ] = False,
    url: Url = None,
    key: Key = None,
) -> None:
    """List jobs: id, status, model, age, prompt."""
    with connect(url, key) as client:
        newest = client.jobs.list(status=status or (), model=model, limit=limit)
        if as_json:
            for job in newest:
                print(json_line(job))
        else:
            _print_table(list(newest))


def cancel(job_id: JobId, url: Url = None, key: Key = None) -> None:
    """Cancel a job: a queued job at once, a running job at its next denoising step."""
    with connect(url, key) as client:
        job = client.jobs.cancel(job_id)
    if job.status not in (JobStatus.CANCELLED, JobStatus.IN_PROGRESS):
        raise CommandError(describe_cancellation(job))
    print(describe_cancellation(job))


def describe_cancellation(job: Job) -> str:
    """The effect of a cancel request on a job."""
    if job.status == JobStatus.CANCELLED:
        return f"{job.id} is cancelled."
    if job.status == JobStatus.IN_PROGRESS:
        return f"{job.id} is being cancelled: it stops at its next step."
    return f"{job.id} is {job.status} already."


def _print_table(jobs: list[Job]) -> None:
    if not jobs:
        print("There are no such jobs.", file=sys.stderr)
        return
    rows = [("ID", "STATUS", "MODEL", "AGE", "PROMPT")]
    for job in jobs:
        age = format_duration(time.time() - job.created_at)
        rows.append((job.id, job.status, job.model, age, one_line(job.prompt)))
    for line in format_table(rows):
        print(line)
