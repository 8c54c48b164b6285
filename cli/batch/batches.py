"""`safelight batches list | show | cancel | retry`: what is there, and what becomes of it."""

import json
import sys
import time
from datetime import datetime
from typing import Annotated

import typer

from cli.batch.client import Batch, Batches, ended
from cli.batch.summary import told_errors
from cli.client import Key, Url, connect
from cli.table import span, table

app = typer.Typer(
    name="batches",
    help="List, show, cancel and retry batches.",
    no_args_is_help=True,
    rich_markup_mode=None,
    add_completion=False,
)

BatchId = Annotated[str, typer.Argument(metavar="BATCH", help="Id of the batch.")]
AsJson = Annotated[bool, typer.Option("--json", help="One JSON object a line, as the API shows the batch.")]


@app.command("list")
def list_batches(
    limit: Annotated[int, typer.Option(min=1, help="How many at most, the newest first.")] = 20,
    as_json: AsJson = False,
    url: Url = None,
    key: Key = None,
) -> None:
    """List batches: id, status, how many lines have ended and failed, age, model."""
    with connect(url, key) as client:
        found = list(Batches(client).newest(limit))
    if as_json:
        for batch in found:
            print(json.dumps(batch, ensure_ascii=False))
    elif not found:
        print("There are no batches.", file=sys.stderr)
    else:
        for line in table([("ID", "STATUS", "ENDED", "FAILED", "AGE", "MODEL"), *map(_row, found)]):
            print(line.rstrip())


@app.command()
def show(batch_id: BatchId, as_json: AsJson = False, url: Url = None, key: Key = None) -> None:
    """Show a batch: how many of its lines are in which state, and why it was refused if it was."""
    with connect(url, key) as client:
        batch = Batches(client).get(batch_id)
    if as_json:
        print(json.dumps(batch, ensure_ascii=False))
        return
    shown = {
        "id": batch["id"],
        "status": batch["status"],
        "lines": ", ".join(f"{name}: {number}" for name, number in batch["request_counts"].items()),
        "model": batch["model"] or "several",
        "created": _moment(batch["created_at"]),
        "finish": _finish(batch),
        "metadata": ", ".join(f"{name}={value}" for name, value in (batch["metadata"] or {}).items()),
        "retry of": batch["retried_from"],
        "errors": batch["error_file_id"],
    }
    for name, value in shown.items():
        if value:
            print(f"{name:<9} {value}")
    for line in told_errors(batch["errors"]["data"] if batch["errors"] else []):
        print(line)


@app.command()
def cancel(batch_id: BatchId, url: Url = None, key: Key = None) -> None:
    """Stop a batch: what waits at once, what is drawn at its next step. What is ready stays."""
    with connect(url, key) as client:
        batch = Batches(client).cancel(batch_id)
    print(f"{batch['id']} is {batch['status']}.")


@app.command()
def retry(batch_id: BatchId, url: Url = None, key: Key = None) -> None:
    """Submit the lines that did not complete as a new batch, and print its id."""
    with connect(url, key) as client:
        print(Batches(client).retry(batch_id)["id"])


def _row(batch: Batch) -> tuple[str, ...]:
    counts = batch["request_counts"]
    how_far, age = f"{ended(batch)}/{counts['total']}", span(time.time() - batch["created_at"])
    return batch["id"], batch["status"], how_far, str(counts["failed"]), age, batch["model"] or "several"


def _finish(batch: Batch) -> str | None:
    progress = batch["progress"]
    if progress is None or progress["estimated_finish_at"] is None:
        return None
    return f"{_moment(progress['estimated_finish_at'])}, at {progress['lines_per_second']} lines a second"


def _moment(seconds: int) -> str:
    return f"{datetime.fromtimestamp(seconds).astimezone():%Y-%m-%d %H:%M}"
