"""What is left behind of a batch that has ended: manifest.csv, errors.jsonl, and a few sentences."""

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

from cli.batch.client import NOT_COMPLETED, Batch, Batches, Estimate, LineError, LineJob, is_whole
from cli.batch.downloads import Downloads
from cli.batch.output_directory import OutputDirectory
from cli.table import counted, plain, span, table

MANIFEST, ERRORS = "manifest.csv", "errors.jsonl"

FAILURES_SHOWN = 10


def write_manifest(batches: Batches, ended: Sequence[Batch], directory: OutputDirectory) -> Path:
    """What came of each line; where it was tried again, of the last try. Returns where that is written."""
    again: dict[str, list[dict[str, str]]] = {}
    for retried in ended[1:]:
        with _manifest(batches, retried) as read:
            rows = defaultdict(list)
            for row in csv.DictReader(read):
                rows[row["custom_id"]].append(row)
        again.update(rows)
    tried_again = set(again)
    with _manifest(batches, ended[0]) as read, directory.writing(MANIFEST) as file:
        first = csv.DictReader(read)
        written = TextIOWrapper(file, "utf-8", newline="", write_through=True)
        writer = csv.DictWriter(written, first.fieldnames or (), extrasaction="ignore")
        writer.writeheader()
        for row in first:
            is_told_later = row["custom_id"] in tried_again
            for last in again.pop(row["custom_id"], ()) if is_told_later else (row,):
                writer.writerow({**last, "file": _file(last, directory)})
        written.detach()
    return directory.path / MANIFEST


def _file(row: Mapping[str, str], directory: OutputDirectory) -> str:
    """The name of a row's image here; the API speaks of the names in its zip."""
    if not row["file"]:
        return ""
    # The API puts a ' before what a spreadsheet would take for a formula.
    custom_id = re.sub(r"^'(?=[=+@\t\r-])", "", row["custom_id"])
    return directory.image(custom_id, int(row["index"]), Path(row["file"]).suffix)


@contextmanager
def _manifest(batches: Batches, batch: Batch) -> Iterator[TextIO]:
    with tempfile.TemporaryFile() as file:
        batches.client.save(f"/v1/batches/{batch['id']}/manifest.csv", file)
        file.seek(0)
        with TextIOWrapper(file, "utf-8", newline="") as text:
            yield text


def write_errors(batches: Batches, ended: Batch, directory: OutputDirectory) -> bool:
    """Save what the API wrote about the lines that did not complete; none is left of an earlier try. Any?"""
    if ended["error_file_id"] is None:
        (directory.path / ERRORS).unlink(missing_ok=True)
        return False
    with directory.writing(ERRORS) as file:
        batches.client.save(f"/v1/files/{ended['error_file_id']}/content", file)
    return True


def summarize(batches: Batches, ended: Sequence[Batch], downloads: Downloads, directory: OutputDirectory) -> None:
    """Say on stderr how it ended, which lines did not complete, and what to do about them."""
    total, last = ended[0]["request_counts"]["total"], ended[-1]
    completed = sum(batch["request_counts"]["completed"] for batch in ended)
    before = f", {downloads.found} of them from before" if downloads.found else ""
    _say(f"{last['id']} is {last['status']}: {completed} of {counted(total, 'line')} completed.")
    _say(f"Images in {directory.path}: {downloads.here}{before}.")
    if downloads.gone:
        _say(f"Images that the API does not have any more: {downloads.gone}.")
    if is_whole(last):
        return
    for line in table([("LINE", "CODE", "MESSAGE"), *_failures(batches, last)]):
        _say(line)
    left = total - completed
    if left > FAILURES_SHOWN:
        _say(f"... and {left - FAILURES_SHOWN} more.")
    more = f"{directory.path / ERRORS} has them all; " if last["error_file_id"] else ""
    _say(f"{more}`{directory.command} --retry-failed` tries these lines again.")


def _failures(batches: Batches, batch: Batch) -> Iterator[tuple[str, str, str]]:
    """The first lines that did not complete: custom_id, code, message."""
    pages = batches.pages(batch["id"], NOT_COMPLETED)
    for job in islice((job for page in pages for job in page), FAILURES_SHOWN):
        yield plain(job["custom_id"]), *_why(job)


def _why(job: LineJob) -> tuple[str, str]:
    error = job["error"]
    if error is None:
        return f"batch_{job['status']}", f"The line was {job['status']} before it was drawn."
    return error["code"], plain(error["message"])


def told_errors(errors: Sequence[LineError]) -> Iterator[str]:
    """What is wrong with an input, a line each: `line 3: ...`."""
    for error in errors:
        where = "" if error["line"] is None else f"line {error['line']}: "
        yield f"{where}{plain(error['message'])} ({error['code']})"


def told_estimate(estimate: Estimate) -> Iterator[str]:
    """What a batch would be: counts, device time, cost."""
    yield f"{counted(estimate['total'], 'line')}, {counted(estimate['images'], 'image')}."
    if not estimate["images"]:
        return
    yield f"Models: {', '.join(f'{model} ({lines})' for model, lines in estimate['models'].items())}."
    yield f"Time of one device: {_about(estimate['device_seconds'])}."
    finish = estimate["estimated_finish_at"]
    if finish is not None:
        yield f"After what waits already, it would be done in {_about(finish - time.time())}."
    if estimate["cost_usd"]:
        yield f"What the provider would charge: about {estimate['cost_usd']:.2f} US dollars."


def _about(seconds: float) -> str:
    return f"about {span(seconds)}" if seconds >= 1 else "less than 1 s"


def _say(line: str) -> None:
    print(line, file=sys.stderr)
