"""`safelight jobs` and `safelight cancel JOB`: what is there, and stopping it."""

import json
import sys
import time
from typing import Annotated

import typer

from cli.client import Job, JobId, Key, Url, connect
from cli.errors import CommandError
from cli.table import plain, span, table
from core.status import JobStatus


def jobs(
    status: Annotated[
        list[JobStatus] | None, typer.Option(help="Only jobs in this state; may be repeated.", case_sensitive=False)
    ] = None,
    model: Annotated[str | None, typer.Option(help="Only jobs of this model.")] = None,
    limit: Annotated[int, typer.Option(min=1, help="How many at most, the newest first.")] = 20,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object a line, as the API shows the job.")] = False,
    url: Url = None,
    key: Key = None,
) -> None:
    """List jobs: id, status, model, prompt, age."""
    with connect(url, key) as client:
        found = client.jobs(limit, status or (), model)
        if as_json:
            for job in found:
                print(json.dumps(job, ensure_ascii=False))
        else:
            _show(list(found))


def cancel(job_id: JobId, url: Url = None, key: Key = None) -> None:
    """Stop a job: at once while it waits, at its next step while it is drawn."""
    with connect(url, key) as client:
        job = client.cancel(job_id)
    if job["status"] not in (JobStatus.CANCELLED, JobStatus.IN_PROGRESS):
        raise CommandError(after_cancel(job))
    print(after_cancel(job))


def after_cancel(job: Job) -> str:
    """What has become of a job that was asked to stop."""
    if job["status"] == JobStatus.CANCELLED:
        return f"{job['id']} is cancelled."
    if job["status"] == JobStatus.IN_PROGRESS:
        return f"{job['id']} is being cancelled: it stops at its next step."
    return f"{job['id']} is {job['status']} already."


def _show(found: list[Job]) -> None:
    """Print jobs as a table; only the prompt gives way to a narrow terminal."""
    if not found:
        print("There are no such jobs.", file=sys.stderr)
        return
    now = time.time()
    rows = [("ID", "STATUS", "MODEL", "AGE", "PROMPT")]
    rows += [
        (job["id"], job["status"], job["model"], span(now - job["created_at"]), plain(job["prompt"])) for job in found
    ]
    for line in table(rows):
        print(line)
