"""`safelight watch JOB`, and how a job is shown while it is followed: a bar on a terminal, else plain lines.

Progress goes to stderr, results to stdout, so that `$(safelight ...)` holds results alone. Following changes nothing:
whoever stops watching leaves the job going on.
"""

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import typer

from cli.client import Client, Event, Job, JobId, Key, Url, connect
from cli.errors import CommandError

INTERRUPTED = 130
"""Exit code after Ctrl-C: 128 + SIGINT."""

Show = Callable[[Event], None]


def watch(job_id: JobId, url: Url = None, key: Key = None) -> None:
    """Follow a job to its end, and print links to its images."""
    with connect(url, key) as client:
        try:
            job = follow(client, job_id)
        except KeyboardInterrupt:
            print(f"{job_id} goes on; `safelight cancel {job_id}` stops it.", file=sys.stderr)
            raise typer.Exit(INTERRUPTED) from None
    check_completed(job)
    for image in job["images"]:
        print(image["url"])


def warn(job: Job) -> None:
    """Say what the model did not see of a job that is done all the same."""
    for warning in job["warnings"]:
        print(f"{job['id']}: warning: {' '.join(warning['message'].split())}", file=sys.stderr)


def follow(client: Client, job_id: str) -> Job:
    """Show a job's progress until its end, then its warnings; returns it as it ended."""
    job = _until_end(client, job_id)
    warn(job)
    return job


def _until_end(client: Client, job_id: str) -> Job:
    with bar(job_id) if is_lively() else lines(job_id) as show:
        for event in client.events(job_id):
            if event.type == "preview":  # asked for by another client
                continue
            show(event)
            if event.job is not None:
                return event.job
    raise AssertionError("a stream of events ends with the job's end")


def check_completed(job: Job) -> None:
    """Raise CommandError unless the job brought its images, saying why it did not."""
    error = job["error"]
    if error is not None:
        raise CommandError(f"{job['id']} failed ({error['code']}): {' '.join(error['message'].split())}")
    if job["status"] == "expired":
        raise CommandError(f"{job['id']} expired: no worker took it in time.")
    if job["status"] != "completed":
        raise CommandError(f"{job['id']} was {job['status']}.")


def is_lively() -> bool:
    """Whether stderr is a terminal on which a bar can move."""
    return sys.stderr.isatty() and os.environ.get("TERM") not in ("dumb", "unknown")


def _state(event: Event) -> str:
    """What an event of the database means to who waits."""
    reason = event.data.get("reason")
    return {
        "job.started": "drawing",
        "job.requeued": f"queued again ({reason})",
        "job.cancel_requested": "stopping",
    }.get(event.type, event.type.removeprefix("job."))


@contextmanager
def bar(job_id: str) -> Iterator[Show]:
    """The job's id, and a bar of the steps of the attempt that runs; it sways while a job waits."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    columns = (TextColumn("{task.description}", markup=False), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=Console(stderr=True)) as progress:
        progress.console.print(job_id, markup=False, highlight=False)
        task = progress.add_task("queued", total=None)

        def show(event: Event) -> None:
            if event.type == "job.progress":
                step, steps = event.data["step"], event.data["steps"]
                progress.update(task, completed=step, total=steps, description="saving" if step == steps else "drawing")
            elif event.type == "job.requeued":
                progress.reset(task, description=_state(event))
            elif event.type == "job.completed":
                steps = progress.tasks[task].total or 1
                progress.update(task, completed=steps, total=steps, description=_state(event))
            else:
                progress.update(task, description=_state(event))

        yield show


@contextmanager
def lines(job_id: str) -> Iterator[Show]:
    """A line for each event, and for about each tenth of the steps."""
    shown = -1

    def show(event: Event) -> None:
        nonlocal shown
        said, tenth = _state(event), -1
        if event.type == "job.progress":
            step, steps = event.data["step"], event.data["steps"]
            said, tenth = f"step {step} of {steps}", 10 * step // steps
            if tenth == shown:
                return
        shown = tenth
        print(f"{job_id}: {said}", file=sys.stderr, flush=True)

    yield show
