"""`safelight watch JOB`, and the progress of a job: a progress bar on a terminal, else one line per event.

Progress goes to stderr and results go to stdout, so that `$(safelight ...)` contains only results. To stop watching
does not stop the job.
"""

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import typer

from cli.client import JobId, Key, Url, connect, explain
from cli.errors import CommandError
from safelight_client import Job, JobEvent, Safelight, SafelightError

INTERRUPTED = 130
"""Exit code after Ctrl-C: 128 + SIGINT."""

ShowEvent = Callable[[JobEvent], None]


def watch(job_id: JobId, url: Url = None, key: Key = None) -> None:
    """Follow a job until it finishes, then print the links to its images."""
    with connect(url, key) as client:
        try:
            job = follow(client, job_id)
        except KeyboardInterrupt:
            print(f"{job_id} is still running. `safelight cancel {job_id}` stops it.", file=sys.stderr)
            raise typer.Exit(INTERRUPTED) from None
    check_completed(job)
    for image in job.images:
        print(image.url)


def print_warnings(job: Job) -> None:
    """Print a job's warnings, such as a truncated prompt."""
    for warning in job.warnings:
        print(f"{job.id}: warning: {' '.join(warning.message.split())}", file=sys.stderr)


def follow(client: Safelight, job_id: str) -> Job:
    """Show a job's progress until it finishes, then its warnings; returns the finished job."""
    job = _wait(client, job_id)
    print_warnings(job)
    return job


def _wait(client: Safelight, job_id: str) -> Job:
    with progress_bar(job_id) if is_interactive() else progress_lines(job_id) as show:
        try:
            for event in client.jobs.events(job_id):
                if event.type == "preview":  # another client requested previews
                    continue
                show(event)
                if event.job is not None:
                    return event.job
        except SafelightError as error:
            raise explain(error, f" {job_id} is not affected: `safelight watch {job_id}` shows it.") from None
    raise AssertionError("the last event of a stream has the finished job")


def check_completed(job: Job) -> None:
    """Raise CommandError with the reason if a finished job has no images."""
    error = job.error
    if error is not None:
        raise CommandError(f"{job.id} failed ({error.code}): {' '.join(error.message.split())}")
    if job.status == "expired":
        raise CommandError(f"{job.id} expired: no worker started it in time.")
    if job.status != "completed":
        raise CommandError(f"{job.id} was {job.status}.")


def is_interactive() -> bool:
    """Whether stderr is a terminal that can show a progress bar."""
    return sys.stderr.isatty() and os.environ.get("TERM") not in ("dumb", "unknown")


def _describe(event: JobEvent) -> str:
    """The state of the job after an event."""
    reason = event.data.get("reason")
    return {
        "job.started": "generating",
        "job.requeued": f"queued again ({reason})",
        "job.cancel_requested": "cancelling",
    }.get(event.type, event.type.removeprefix("job."))


@contextmanager
def progress_bar(job_id: str) -> Iterator[ShowEvent]:
    """The job's id and a bar of the denoising steps of the current attempt; the bar pulses while the job is queued."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    columns = (TextColumn("{task.description}", markup=False), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=Console(stderr=True)) as progress:
        progress.console.print(job_id, markup=False, highlight=False)
        task = progress.add_task("queued", total=None)

        def show(event: JobEvent) -> None:
            if event.type == "job.progress":
                step, steps = event.data["step"], event.data["steps"]
                progress.update(
                    task, completed=step, total=steps, description="saving" if step == steps else "generating"
                )
            elif event.type == "job.requeued":
                progress.reset(task, description=_describe(event))
            elif event.type == "job.completed":
                steps = progress.tasks[task].total or 1
                progress.update(task, completed=steps, total=steps, description=_describe(event))
            else:
                progress.update(task, description=_describe(event))

        yield show


@contextmanager
def progress_lines(job_id: str) -> Iterator[ShowEvent]:
    """A line per event, and a line per tenth of the steps."""
    last_tenth = -1

    def show(event: JobEvent) -> None:
        nonlocal last_tenth
        state, tenth = _describe(event), -1
        if event.type == "job.progress":
            step, steps = event.data["step"], event.data["steps"]
            state, tenth = f"step {step} of {steps}", 10 * step // steps
            if tenth == last_tenth:
                return
        last_tenth = tenth
        print(f"{job_id}: {state}", file=sys.stderr, flush=True)

    yield show
