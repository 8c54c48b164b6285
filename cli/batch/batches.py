"""`safelight batches list | show | cancel | retry`."""

import sys
import time
from datetime import datetime
from typing import Annotated

import typer

from cli.batch.client import count_final
from cli.batch.summary import format_errors, format_input
from cli.client import BatchId, Key, Url, connect, json_line
from cli.table import format_duration, format_table
from safelight_client import Batch

app = typer.Typer(
    name="batches",
    help="List, show, cancel and retry batches.",
    no_args_is_help=True,
    rich_markup_mode=None,
    add_completion=False,
)

AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON object per batch, as the API sends it.")]


@app.command("list")
def list_batches(
    limit: Annotated[int, typer.Option(min=1, help="Maximum number of batches, newest first.")] = 20,
    as_json: AsJson = False,
    url: Url = None,
    key: Key = None,
) -> None:
    """List batches: id, status, finished lines, failed lines, age, model."""
    with connect(url, key) as client:
        batches = list(client.batches.list(limit=limit))
    if as_json:
        for batch in batches:
            print(json_line(batch))
    elif not batches:
        print("There are no batches.", file=sys.stderr)
    else:
        for line in format_table([("ID", "STATUS", "FINISHED", "FAILED", "AGE", "MODEL"), *map(_row, batches)]):
            print(line)


@app.command()
def show(batch_id: BatchId, as_json: AsJson = False, url: Url = None, key: Key = None) -> None:
    """Show a batch: the number of lines by status, the estimated finish, and the errors of its input."""
    with connect(url, key) as client:
        batch = client.batches.retrieve(batch_id)
    if as_json:
        print(json_line(batch))
        return
    fields = {
        "id": batch.id,
        "status": batch.status,
        "lines": ", ".join(f"{name}: {number}" for name, number in batch.request_counts.model_dump().items()),
        "model": batch.model or "several",
        "created": _format_time(batch.created_at),
        "finish": _format_finish(batch),
        "metadata": ", ".join(f"{name}={value}" for name, value in (batch.metadata or {}).items()),
        "retry of": batch.retried_from,
        "errors": batch.error_file_id,
    }
    for name, value in fields.items():
        if value:
            print(f"{name:<9} {value}")
    for line in format_input(batch.input):
        print(line)
    for line in format_errors(batch.errors.data if batch.errors else []):
        print(line)


@app.command()
def cancel(batch_id: BatchId, url: Url = None, key: Key = None) -> None:
    """Cancel a batch: queued lines at once, running lines at their next denoising step."""
    with connect(url, key) as client:
        batch = client.batches.cancel(batch_id)
    print(f"{batch.id} is {batch.status}.")


@app.command()
def retry(batch_id: BatchId, url: Url = None, key: Key = None) -> None:
    """Submit the lines that did not complete as a new batch and print its id."""
    with connect(url, key) as client:
        print(client.batches.retry(batch_id).id)


def _row(batch: Batch) -> tuple[str, ...]:
    counts = batch.request_counts
    lines, age = f"{count_final(batch)}/{counts.total}", format_duration(time.time() - batch.created_at)
    return batch.id, batch.status, lines, str(counts.failed), age, batch.model or "several"


def _format_finish(batch: Batch) -> str | None:
    progress = batch.progress
    if progress is None or progress.estimated_finish_at is None:
        return None
    return f"{_format_time(progress.estimated_finish_at)}, at {progress.lines_per_second} lines per second"


def _format_time(seconds: int) -> str:
    return f"{datetime.fromtimestamp(seconds).astimezone():%Y-%m-%d %H:%M}"
