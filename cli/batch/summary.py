"""The results of a finished batch: manifest.csv, errors.jsonl, and a summary on stderr."""

import csv
import re
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from io import TextIOWrapper
from itertools import islice
from pathlib import Path
from typing import TextIO

from cli.batch.client import UNSUCCESSFUL_STATUSES, Batch, Batches, Estimate, LineError, LineJob, is_successful
from cli.batch.downloads import Downloads
from cli.batch.output_directory import OutputDirectory
from cli.table import format_count, format_duration, format_table, one_line

MANIFEST, ERRORS = "manifest.csv", "errors.jsonl"

MAX_FAILURES = 10
"""The number of unsuccessful lines in the summary."""


def write_manifest(batches: Batches, results: Sequence[Batch], directory: OutputDirectory) -> Path:
    """Write the result of each line, after its last retry; returns the path.

    `results` are the finished batch and its finished retries, in order.
    """
    retry_rows: dict[str, list[dict[str, str]]] = {}
    for batch in results[1:]:
        rows = defaultdict(list)
        with _download_manifest(batches, batch) as text:
            for row in csv.DictReader(text):
                rows[row["custom_id"]].append(row)
        retry_rows.update(rows)
    retry_ids = set(retry_rows)
    with _download_manifest(batches, results[0]) as text, directory.open_file(MANIFEST) as file:
        reader = csv.DictReader(text)
        output = TextIOWrapper(file, "utf-8", newline="", write_through=True)
        writer = csv.DictWriter(output, reader.fieldnames or (), extrasaction="ignore")
        writer.writeheader()
        for row in reader:
            # The first row of a line is replaced by all rows of its retry; its other rows by none.
            for result in retry_rows.pop(row["custom_id"], ()) if row["custom_id"] in retry_ids else (row,):
                writer.writerow({**result, "file": _file_name(result, directory)})
        output.detach()
    return directory.path / MANIFEST


def _file_name(row: Mapping[str, str], directory: OutputDirectory) -> str:
    """The name of a row's image in the directory. The API's manifest has the names in its ZIP file."""
    if not row["file"]:
        return ""
    # The API adds a ' before a value that a spreadsheet would read as a formula.
    custom_id = re.sub(r"^'(?=[=+@\t\r-])", "", row["custom_id"])
    return directory.image_name(custom_id, int(row["index"]), Path(row["file"]).suffix)


@contextmanager
def _download_manifest(batches: Batches, batch: Batch) -> Iterator[TextIO]:
    with tempfile.TemporaryFile() as file:
        batches.client.save(f"/v1/batches/{batch['id']}/manifest.csv", file)
        file.seek(0)
        with TextIOWrapper(file, "utf-8", newline="") as text:
            yield text


def write_errors(batches: Batches, batch: Batch, directory: OutputDirectory) -> None:
    """Save the batch's error file, or delete the file of an earlier try if there are no errors."""
    if batch["error_file_id"] is None:
        (directory.path / ERRORS).unlink(missing_ok=True)
        return
    with directory.open_file(ERRORS) as file:
        batches.client.save(f"/v1/files/{batch['error_file_id']}/content", file)


def summarize(batches: Batches, results: Sequence[Batch], downloads: Downloads, directory: OutputDirectory) -> None:
    """Print the numbers, the lines that did not complete, and how to retry them."""
    total, last = results[0]["request_counts"]["total"], results[-1]
    completed = sum(batch["request_counts"]["completed"] for batch in results)
    existing = f", {downloads.existing_count} of them from an earlier run" if downloads.existing_count else ""
    _print(f"{last['id']} is {last['status']}: {completed} of {format_count(total, 'line')} completed.")
    _print(f"Images in {directory.path}: {downloads.image_count}{existing}.")
    if downloads.missing_count:
        _print(f"Images that were deleted from Safelight: {downloads.missing_count}.")
    if is_successful(last):
        return
    for line in format_table([("LINE", "CODE", "MESSAGE"), *_list_failures(batches, last)]):
        _print(line)
    failures = total - completed
    if failures > MAX_FAILURES:
        _print(f"... and {failures - MAX_FAILURES} more.")
    reference = f"{directory.path / ERRORS} has all errors. " if last["error_file_id"] else ""
    _print(f"{reference}`{directory.command} --retry-failed` retries these lines.")


def _list_failures(batches: Batches, batch: Batch) -> Iterator[tuple[str, str, str]]:
    """The first lines that did not complete: custom_id, code, message."""
    pages = batches.pages(batch["id"], UNSUCCESSFUL_STATUSES)
    for job in islice((job for page in pages for job in page), MAX_FAILURES):
        yield one_line(job["custom_id"]), *_describe_failure(job)


def _describe_failure(job: LineJob) -> tuple[str, str]:
    error = job["error"]
    if error is None:
        return f"batch_{job['status']}", f"The line was {job['status']} before it finished."
    return error["code"], one_line(error["message"])


def format_errors(errors: Sequence[LineError]) -> Iterator[str]:
    """The errors of an input, each on its own line: `line 3: ...`."""
    for error in errors:
        position = "" if error["line"] is None else f"line {error['line']}: "
        yield f"{position}{one_line(error['message'])} ({error['code']})"


def format_estimate(estimate: Estimate) -> Iterator[str]:
    """An estimate: counts, device time, finish, cost."""
    yield f"{format_count(estimate['total'], 'line')}, {format_count(estimate['images'], 'image')}."
    if not estimate["images"]:
        return
    yield f"Models: {', '.join(f'{model} ({lines})' for model, lines in estimate['models'].items())}."
    yield f"Device time: {_format_about(estimate['device_seconds'])}."
    finish = estimate["estimated_finish_at"]
    if finish is not None:
        yield f"Estimated finish, behind the jobs in the queue: in {_format_about(finish - time.time())}."
    if estimate["cost_usd"]:
        yield f"Estimated cost at the provider: {estimate['cost_usd']:.2f} US dollars."


def _format_about(seconds: float) -> str:
    return f"about {format_duration(seconds)}" if seconds >= 1 else "less than 1 s"


def _print(line: str) -> None:
    print(line, file=sys.stderr)
